import io.opentelemetry.api.GlobalOpenTelemetry;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanBuilder;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Scope;

/** Places as many orders as its argument says, a trace each, and prints the ids of the traces. */
class App {
    private static final Tracer TRACER = GlobalOpenTelemetry.getTracer("shop");

    public static void main(String[] args) {
        int orders = Integer.parseInt(args[0]);
        for (int order = 1; order <= orders; order++) {
            SpanBuilder root = span("place order", SpanKind.SERVER).setAttribute("shop.order", order);
            Span placed = run(root, () -> {
                run(span("reserve stock", SpanKind.INTERNAL),
                    () -> run(span("SELECT stock", SpanKind.CLIENT), () -> {}));
                run(span("charge card", SpanKind.CLIENT), () -> {});
            });
            System.out.println("trace " + placed.getSpanContext().getTraceId());
        }
    }

    private static SpanBuilder span(String name, SpanKind kind) {
        return TRACER.spanBuilder(name).setSpanKind(kind);
    }

    private static Span run(SpanBuilder builder, Runnable work) {
        Span span = builder.startSpan();
        try (Scope scope = span.makeCurrent()) {
            work.run();
        } finally {
            span.end();
        }
        return span;
    }
}
