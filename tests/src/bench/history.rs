//! What the defaults cost before there was a bench: the figures that a run is printed beside.

use serde::{Deserialize, Serialize};

use super::figure::Figure;
use super::report::Report;
use super::table::aligned;
use super::variant::{DEFAULT, MEMORY_QUEUE, UPSTREAM};

/// How the figures came about.
pub const SOURCE: &str = "Tempo 2.9.0 and Collector 0.155.0 on 2 cores shared with telemetrygen, one worker, traces of \
                          ten spans of a few attributes, 15 to 20 s; now the spans have as many attributes as a \
                          service sends, so compare the ratios";

/// CPU seconds for a million spans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// The name of the profile.
    pub profile: String,
    /// The name of the variant.
    pub variant: String,
    /// Those of the Collector.
    pub collector_cpu_seconds_per_million_spans: f64,
    /// Those of Tempo.
    pub tempo_cpu_seconds_per_million_spans: f64,
}

/// The table as it was measured: profile, variant, Collector and Tempo.
const TABLE: [(&str, &str, f64, f64); 9] = [
    ("10-spans", UPSTREAM, 16.7, 9.5),
    ("10-spans", DEFAULT, 49.2, 9.6),
    ("10-spans", MEMORY_QUEUE, 27.0, 8.9),
    ("100-spans", UPSTREAM, 4.5, 6.4),
    ("100-spans", DEFAULT, 9.5, 7.1),
    ("100-spans", MEMORY_QUEUE, 4.7, 7.1),
    ("500-spans", UPSTREAM, 3.2, 5.9),
    ("500-spans", DEFAULT, 5.7, 7.0),
    ("500-spans", MEMORY_QUEUE, 2.3, 6.9),
];

/// All rows.
pub(super) fn rows() -> Vec<Earlier> {
    let row = |(profile, variant, collector, tempo): (&str, &str, f64, f64)| Earlier {
        profile: profile.into(),
        variant: variant.into(),
        collector_cpu_seconds_per_million_spans: collector,
        tempo_cpu_seconds_per_million_spans: tempo,
    };
    TABLE.into_iter().map(row).collect()
}

/// What a variant cost in proportion to another one; none for a figure that wasn't measured then.
pub(super) fn ratio(profile: &str, figure: Figure, variant: &str, to: &str) -> Option<f64> {
    let of = |variant: &str| {
        let mut rows = TABLE.into_iter();
        let (_, _, collector, tempo) = rows.find(|row| (row.0, row.1) == (profile, variant))?;
        match figure {
            Figure::CollectorCpu => Some(collector),
            Figure::TempoCpu => Some(tempo),
            Figure::Cpu => Some(collector + tempo),
            _ => None,
        }
    };
    Some(of(variant)? / of(to)?)
}

/// The rows of then beside those of a run, which are the same loads with larger spans; none if it has none of them.
pub fn beside(report: &Report) -> Option<String> {
    let mut lines = vec![
        ["profile", "variant", "then:", "", "", "now:", "", ""]
            .map(str::to_owned)
            .to_vec(),
        [
            "CPU s/M spans",
            "",
            "Collector",
            "Tempo",
            "both",
            "Collector",
            "Tempo",
            "both",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (profile, variant, collector, tempo) in TABLE {
        let Some(row) = report.row(profile, variant) else {
            continue;
        };
        let mut line = vec![profile.to_owned(), variant.to_owned()];
        line.extend([collector, tempo, collector + tempo].map(|seconds| format!("{seconds:.1}")));
        line.extend([Figure::CollectorCpu, Figure::TempoCpu, Figure::Cpu].map(|figure| {
            let seconds = row.median.get(&figure);
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}"))
        }));
        lines.push(line);
    }
    (lines.len() > 2).then(|| format!("{}then: {SOURCE}\n", aligned(&lines, 2)))
}

#[cfg(test)]
mod tests {
    use super::super::profile::{Profile, USUAL};
    use super::super::variant::Variant;
    use super::*;

    #[test]
    fn every_row_is_of_a_usual_profile_and_a_variant_that_there_is() {
        for row in rows() {
            assert!(USUAL.contains(&row.profile.as_str()) && Profile::named(&row.profile).is_ok());
            assert!(Variant::named(&row.variant).is_some(), "{row:?}");
        }
    }

    #[test]
    fn ratios_are_those_that_follow_from_the_table() {
        let ratio = |figure, to| ratio("10-spans", figure, DEFAULT, to).map(|ratio| format!("{ratio:.3}"));
        assert_eq!(ratio(Figure::CollectorCpu, MEMORY_QUEUE).as_deref(), Some("1.822"));
        assert_eq!(ratio(Figure::Cpu, UPSTREAM).as_deref(), Some("2.244"));
        assert_eq!(ratio(Figure::Wire, UPSTREAM), None);
    }
}
