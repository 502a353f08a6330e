//! Jaeger batches in thrift (jaegertracing/jaeger-idl thrift/jaeger.thrift and agent.thrift), over
//! Apache's protocols.

use anyhow::{Context, Result, bail};
use thrift::protocol::{
    TBinaryOutputProtocol, TCompactOutputProtocol, TFieldIdentifier, TListIdentifier, TMessageIdentifier, TMessageType,
    TOutputProtocol, TStructIdentifier, TType,
};

use super::model::{Batch, JaegerSpan, Log, Process, Reference, ReferenceType, Tag, TagType, Time};

/// What a writer writes to: the compact or the binary protocol.
type Out<'a> = &'a mut dyn TOutputProtocol;

/// The body of a POST: a bare batch in the binary protocol.
pub fn body(batch: &Batch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_batch(&mut TBinaryOutputProtocol::new(&mut bytes, true), batch).context("encoding thrift")?;
    Ok(bytes)
}

/// A call of the agent's `emitBatch` in the compact protocol.
pub(crate) fn compact_packet(batch: &Batch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    emit_batch(&mut TCompactOutputProtocol::new(&mut bytes), batch).context("encoding compact thrift")?;
    Ok(bytes)
}

/// A call of the agent's `emitBatch` in the binary protocol.
pub(crate) fn binary_packet(batch: &Batch) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    emit_batch(&mut TBinaryOutputProtocol::new(&mut bytes, true), batch).context("encoding binary thrift")?;
    Ok(bytes)
}

fn emit_batch(out: Out, batch: &Batch) -> Result<()> {
    out.write_message_begin(&TMessageIdentifier::new("emitBatch", TMessageType::OneWay, 1))?;
    write_struct(out, "emitBatch_args", |out| {
        field(out, 1, TType::Struct, |out| write_batch(out, batch))
    })?;
    out.write_message_end()?;
    Ok(out.flush()?)
}

fn write_batch(out: Out, batch: &Batch) -> Result<()> {
    write_struct(out, "Batch", |out| {
        let process = batch.process.clone().unwrap_or_default();
        field(out, 1, TType::Struct, |out| write_process(out, &process))?;
        list(out, 2, &batch.spans, write_span)
    })
}

fn write_process(out: Out, process: &Process) -> Result<()> {
    write_struct(out, "Process", |out| {
        text(out, 1, &process.service_name)?;
        list(out, 2, &process.tags, write_tag)
    })
}

fn write_span(out: Out, span: &JaegerSpan) -> Result<()> {
    let (high, low) = trace_id(&span.trace_id)?;
    let parent = span.references.iter().find(|r| r.ref_type() == ReferenceType::ChildOf);
    let others = span
        .references
        .iter()
        .filter(|r| r.ref_type() != ReferenceType::ChildOf);
    let microseconds = |time: Option<Time>| time.unwrap_or_default().microseconds();
    write_struct(out, "Span", |out| {
        i64_field(out, 1, low)?;
        i64_field(out, 2, high)?;
        i64_field(out, 3, span_id(&span.span_id)?)?;
        i64_field(out, 4, parent.map_or(Ok(0), |parent| span_id(&parent.span_id))?)?;
        text(out, 5, &span.operation_name)?;
        list(out, 6, &others.cloned().collect::<Vec<_>>(), write_reference)?;
        i32_field(out, 7, i32::try_from(span.flags)?)?;
        i64_field(out, 8, microseconds(span.start_time))?;
        i64_field(out, 9, microseconds(span.duration))?;
        list(out, 10, &span.tags, write_tag)?;
        list(out, 11, &span.logs, write_log)
    })
}

fn write_reference(out: Out, reference: &Reference) -> Result<()> {
    let (high, low) = trace_id(&reference.trace_id)?;
    write_struct(out, "SpanRef", |out| {
        i32_field(out, 1, reference.ref_type)?;
        i64_field(out, 2, low)?;
        i64_field(out, 3, high)?;
        i64_field(out, 4, span_id(&reference.span_id)?)
    })
}

fn write_log(out: Out, log: &Log) -> Result<()> {
    write_struct(out, "Log", |out| {
        i64_field(out, 1, log.timestamp.unwrap_or_default().microseconds())?;
        list(out, 2, &log.fields, write_tag)
    })
}

fn write_tag(out: Out, tag: &Tag) -> Result<()> {
    // Thrift numbers the types in another order than api_v2.
    let number = match tag.v_type() {
        TagType::String => 0,
        TagType::Float64 => 1,
        TagType::Bool => 2,
        TagType::Int64 => 3,
        TagType::Binary => 4,
    };
    write_struct(out, "Tag", |out| {
        text(out, 1, &tag.key)?;
        i32_field(out, 2, number)?;
        match tag.v_type() {
            TagType::String => text(out, 3, &tag.v_str),
            TagType::Float64 => field(out, 4, TType::Double, |out| Ok(out.write_double(tag.v_float64)?)),
            TagType::Bool => field(out, 5, TType::Bool, |out| Ok(out.write_bool(tag.v_bool)?)),
            TagType::Int64 => i64_field(out, 6, tag.v_int64),
            TagType::Binary => field(out, 7, TType::String, |out| Ok(out.write_bytes(&tag.v_binary)?)),
        }
    })
}

/// The high and the low half of a trace id.
fn trace_id(bytes: &[u8]) -> Result<(i64, i64)> {
    let Some((high, low)) = bytes.split_at_checked(8) else {
        bail!("a trace id of {} bytes", bytes.len());
    };
    Ok((span_id(high)?, span_id(low)?))
}

fn span_id(bytes: &[u8]) -> Result<i64> {
    let bytes = <[u8; 8]>::try_from(bytes).with_context(|| format!("an id of {} bytes", bytes.len()))?;
    Ok(i64::from_be_bytes(bytes))
}

fn write_struct(out: Out, name: &str, fields: impl FnOnce(Out) -> Result<()>) -> Result<()> {
    out.write_struct_begin(&TStructIdentifier::new(name))?;
    fields(out)?;
    out.write_field_stop()?;
    Ok(out.write_struct_end()?)
}

fn field(out: Out, id: i16, kind: TType, value: impl FnOnce(Out) -> Result<()>) -> Result<()> {
    // Neither protocol writes a field's name.
    out.write_field_begin(&TFieldIdentifier::new("", kind, id))?;
    value(out)?;
    Ok(out.write_field_end()?)
}

fn list<T>(out: Out, id: i16, items: &[T], write: fn(Out, &T) -> Result<()>) -> Result<()> {
    field(out, id, TType::List, |out| {
        let length = i32::try_from(items.len())?;
        out.write_list_begin(&TListIdentifier::new(TType::Struct, length))?;
        for item in items {
            write(out, item)?;
        }
        Ok(out.write_list_end()?)
    })
}

fn text(out: Out, id: i16, value: &str) -> Result<()> {
    field(out, id, TType::String, |out| Ok(out.write_string(value)?))
}

fn i32_field(out: Out, id: i16, value: i32) -> Result<()> {
    field(out, id, TType::I32, |out| Ok(out.write_i32(value)?))
}

fn i64_field(out: Out, id: i16, value: i64) -> Result<()> {
    field(out, id, TType::I64, |out| Ok(out.write_i64(value)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_a_trace_id_keep_their_order_and_sign() {
        let mut id = [0; 16];
        id[7] = 1;
        id[8..].fill(0xff);
        assert_eq!(trace_id(&id).unwrap(), (1, -1));
        assert!(trace_id(&[1; 7]).is_err() && trace_id(&[1; 17]).is_err());
    }
}
