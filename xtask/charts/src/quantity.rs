//! Kubernetes quantities and Go memory sizes, as bytes.

/// Suffixes of a Kubernetes quantity (apimachinery, package resource) with their factors.
const UNITS: [(&str, f64); 14] = [
    ("Ki", 1024.0),
    ("Mi", 1048576.0),
    ("Gi", 1073741824.0),
    ("Ti", 1099511627776.0),
    ("Pi", 1125899906842624.0),
    ("Ei", 1152921504606846976.0),
    ("n", 1e-9),
    ("u", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
];

/// Bytes of a quantity such as `512Mi`, `1.5G`, `128974848` or `129e6`, rounded up as Kubernetes does.
pub fn bytes(text: &str) -> Option<u64> {
    number(text).map(|value| value.ceil() as u64)
}

/// A quantity as a number that isn't negative: bytes, or cores such as `250m`.
pub fn number(text: &str) -> Option<f64> {
    let unit = UNITS.iter().find(|(suffix, _)| text.ends_with(suffix));
    let (number, factor) = match unit {
        Some((suffix, factor)) => (text.strip_suffix(suffix)?, *factor),
        // `E` is both exa and an exponent: only at the end it is a suffix.
        None => match text.strip_suffix('E') {
            Some(number) => (number, 1e18),
            None => (text, 1.0),
        },
    };
    let value: f64 = number.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value * factor)
}

/// Bytes of a GOMEMLIMIT such as `429496729` or `400MiB` (Go, package runtime).
pub fn go_bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];
    let unit = units.iter().find(|(suffix, _)| text.ends_with(suffix));
    let (number, shift) = match unit {
        Some((suffix, shift)) => (text.strip_suffix(suffix)?, *shift),
        None => (text, 0),
    };
    number.parse::<u64>().ok()?.checked_shl(shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suffix_of_a_quantity_is_known() {
        for (text, value) in [
            ("512Mi", Some(512 << 20)),
            ("1.5Gi", Some(1610612736)),
            ("2G", Some(2_000_000_000)),
            ("1Ei", Some(1 << 60)),
            ("1E", Some(1_000_000_000_000_000_000)),
            ("129e6", Some(129_000_000)),
            ("1500m", Some(2)),
            ("64", Some(64)),
            ("", None),
            ("Mi", None),
            ("-1", None),
            ("1MB", None),
        ] {
            assert_eq!(bytes(text), value, "{text}");
        }
    }

    #[test]
    fn go_knows_binary_units_only() {
        assert_eq!(go_bytes("400MiB"), Some(400 << 20));
        assert_eq!(go_bytes("429496729"), Some(429496729));
        assert_eq!(go_bytes("400Mi"), None);
    }
}
