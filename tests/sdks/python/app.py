"""Places as many orders as its argument says, a trace each, and prints the ids of the traces."""

import sys

from opentelemetry import trace
from opentelemetry.trace import SpanKind

tracer = trace.get_tracer("shop")

for order in range(1, int(sys.argv[1]) + 1):
    with tracer.start_as_current_span("place order", kind=SpanKind.SERVER, attributes={"shop.order": order}) as root:
        with tracer.start_as_current_span("reserve stock"):
            with tracer.start_as_current_span("SELECT stock", kind=SpanKind.CLIENT):
                pass
        with tracer.start_as_current_span("charge card", kind=SpanKind.CLIENT):
            pass
    print("trace", trace.format_trace_id(root.get_span_context().trace_id), flush=True)
