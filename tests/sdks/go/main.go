// Places as many orders as its argument says, a trace each, and prints the ids of the traces.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("the number of orders is the only argument")
	}
	orders, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = run(context.Background(), orders)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, orders int) error {
	// Reads OTEL_EXPORTER_OTLP_PROTOCOL, which the exporters of the SDK leave to the code.
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return err
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter))
	otel.SetTracerProvider(provider)
	for order := 1; order <= orders; order++ {
		fmt.Println("trace", place(ctx, order).TraceID())
	}
	return provider.Shutdown(ctx)
}

func place(ctx context.Context, order int) trace.SpanContext {
	tracer := otel.Tracer("shop")
	ctx, root := tracer.Start(ctx, "place order", trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attribute.Int("shop.order", order)))
	defer root.End()
	reserving, reserve := tracer.Start(ctx, "reserve stock")
	_, query := tracer.Start(reserving, "SELECT stock", trace.WithSpanKind(trace.SpanKindClient))
	query.End()
	reserve.End()
	_, charge := tracer.Start(ctx, "charge card", trace.WithSpanKind(trace.SpanKindClient))
	charge.End()
	return root.SpanContext()
}
