//! Trace and span ids, shown as OTLP and Tempo show them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use rand::Rng;
use serde::{Serialize, Serializer};

/// A 128-bit trace id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// A 64-bit span id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl TraceId {
    /// The id in the bytes of an OTLP field; an error if there aren't 16 of them.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<TraceId> {
        let id = <[u8; 16]>::try_from(bytes);
        Ok(TraceId(
            id.with_context(|| format!("a trace id of {} bytes", bytes.len()))?,
        ))
    }
}

impl SpanId {
    /// One that isn't zero.
    pub(crate) fn random(random: &mut impl Rng) -> SpanId {
        let mut id = [0; 8];
        random.fill_bytes(&mut id);
        id[7] |= 1;
        SpanId(id)
    }

    /// The id in the bytes of an OTLP field; an error if there aren't 8 of them.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<SpanId> {
        let id = <[u8; 8]>::try_from(bytes);
        Ok(SpanId(
            id.with_context(|| format!("a span id of {} bytes", bytes.len()))?,
        ))
    }
}

/// Reads hexadecimal digits of either case; missing leading zeros are added, because Tempo's search
/// leaves them out.
impl FromStr for TraceId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<TraceId> {
        Ok(TraceId(number(text, 32, "trace")?.to_be_bytes()))
    }
}

/// Reads hexadecimal digits as for trace ids.
impl FromStr for SpanId {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<SpanId> {
        let [.., a, b, c, d, e, f, g, h] = number(text, 16, "span")?.to_be_bytes();
        Ok(SpanId([a, b, c, d, e, f, g, h]))
    }
}

fn number(text: &str, digits: usize, what: &str) -> Result<u128> {
    // from_str_radix alone would take a sign.
    if text.is_empty() || text.len() > digits || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        bail!("{text:?} is not a {what} id of up to {digits} hexadecimal digits");
    }
    u128::from_str_radix(text, 16).with_context(|| format!("{text:?} is not a {what} id"))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_that_search_leaves_out_are_added() {
        let id: TraceId = "abc".parse().unwrap();
        assert_eq!(id.to_string(), "00000000000000000000000000000abc");
        assert_eq!(id.to_string().parse::<TraceId>().unwrap(), id);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert!("00000000000000001".parse::<SpanId>().is_err());
        for text in ["", "xyz", "-1", "+1", "000000000000000000000000000000000"] {
            assert!(text.parse::<TraceId>().is_err(), "{text:?}");
        }
        assert!(TraceId::from_bytes(&[1; 8]).is_err());
        assert!(SpanId::from_bytes(&[]).is_err());
    }
}
