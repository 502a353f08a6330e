// Places as many orders as its argument says, a trace each, and prints the ids of the traces.
'use strict';

const { SpanKind, trace } = require('@opentelemetry/api');

const tracer = trace.getTracer('shop');

function span(name, options, work = () => {}) {
  return tracer.startActiveSpan(name, options, (started) => {
    work();
    started.end();
    return started;
  });
}

const orders = Number(process.argv[2]);
for (let order = 1; order <= orders; order++) {
  const root = span('place order', { kind: SpanKind.SERVER, attributes: { 'shop.order': order } }, () => {
    span('reserve stock', {}, () => span('SELECT stock', { kind: SpanKind.CLIENT }));
    span('charge card', { kind: SpanKind.CLIENT });
  });
  console.log('trace', root.spanContext().traceId);
}
