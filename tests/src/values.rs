//! The comments in values.yaml: the source of values.schema.json and of the README tables.
