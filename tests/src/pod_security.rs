//! Pod Security Standards, level restricted, field by field.
