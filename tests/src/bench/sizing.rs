//! What the stack needs for a number of spans a second, by computation from what a bench measured.

use anyhow::{Context, Result};
use kit::failure::Failure;

use super::figure::{Figure, Figures};
use super::parts::{self, COLLECTOR, Part, Parts, WHOLE};
use super::report::{Report, Row};
use super::variant::{DEFAULT, FLEETS, IN_A_BUCKET, MIRROR};

/// The load that is measured: what services send that flush a hundred spans at a time.
const PROFILE: &str = "100-spans";
/// It is the only one.
pub const PROFILES: &[&str] = &[PROFILE];
/// Spans a second of the table.
const RATES: [f64; 3] = [10_000.0, 100_000.0, 1_000_000.0];
/// What is asked for in proportion to what is used: half of it stays free for peaks, queries, a pod that is away, and
/// for blocks that are merged more than once.
const HEADROOM: f64 = 2.0;
/// Spans a second of one pod of Tempo: what the size `large` is for.
const OF_A_POD: f64 = 50_000.0;
/// Spans a second of one Collector: there are two at `large`.
const OF_A_COLLECTOR: f64 = 25_000.0;
/// Bytes a second that a Collector sends a mirror at most: 30 batches of 1 MiB in six seconds.
const TO_A_MIRROR: f64 = 5.0 * MIB;
/// Cores of a pod that scales by its CPU.
const OF_A_CORE: f64 = 4.0;
/// Bytes of heap for an accepted byte a second, see "Sizing Tempo" in the chart's docs/growing.md.
const HEAP: f64 = 15.0;
/// How long blocks are kept, and how long they are there twice (the chart's templates/_tempo-disk.tpl).
const KEPT: f64 = 3.0 * DAY;
const TWICE: f64 = 7_200.0;
/// How long what came in is in the log of an ingester.
const IN_LOG: f64 = 2_700.0;
/// What a volume over a bucket has in proportion to that, for a bucket that is away.
const BUCKET_AWAY: f64 = 3.0;
/// The share of a volume that isn't the reserve in which spans are refused.
const ROOM: f64 = 0.9;
/// How long spans find room in the queues, and what a claim is in proportion to its queue.
const QUEUED: f64 = 900.0;
const CLAIM: f64 = 4.0;
const DAY: f64 = 86_400.0;
const MIB: f64 = 1024.0 * 1024.0;
const GIB: f64 = 1024.0 * MIB;

/// How Tempo runs.
#[derive(Clone, Copy)]
struct Mode {
    title: &'static str,
    variant: &'static str,
    /// Ingesters that get each span.
    replication: f64,
    /// The most spans a second that it is for.
    most: f64,
}

const MODES: [Mode; 4] = [
    mode("one Tempo", DEFAULT, 1.0, OF_A_POD),
    mode("two mirrors", MIRROR, 1.0, OF_A_POD),
    mode("fleet, replication 1", FLEETS[0], 1.0, f64::MAX),
    mode("fleet, replication 3", FLEETS[1], 3.0, f64::MAX),
];

const fn mode(title: &'static str, variant: &'static str, replication: f64, most: f64) -> Mode {
    Mode {
        title,
        variant,
        replication,
        most,
    }
}

/// What a mode costs, as it was measured.
struct Measured {
    mode: Mode,
    figures: Figures,
    parts: Parts,
    /// CPU seconds of compaction for a million spans, where the parts don't hold them.
    compaction: f64,
}

/// What is needed for a rate.
#[derive(Default)]
struct Needs {
    pods: f64,
    cores: f64,
    /// Bytes.
    memory: f64,
    /// Bytes of all volumes.
    volumes: f64,
}

impl Measured {
    fn figure(&self, figure: Figure) -> Result<f64> {
        let missing = || {
            let what = figure.column().map(|column| column.header).unwrap_or_default();
            format!("the report has no {what:?} of {}", self.mode.variant)
        };
        self.figures.get(&figure).copied().with_context(missing)
    }

    /// Bytes of a span after compaction; where that wasn't waited for, those of its one copy before.
    fn compacted(&self) -> Result<f64> {
        match self.figures.get(&Figure::Compacted) {
            Some(bytes) => Ok(*bytes),
            None => Ok(self.figure(Figure::Flushed)? / self.mode.replication),
        }
    }

    /// Cores that a part gets.
    fn cores(part: &Part, rate: f64) -> f64 {
        HEADROOM * part.cpu() * rate / 1e6
    }

    /// How many pods a part gets for a rate.
    fn pods(&self, name: &str, part: &Part, rate: f64) -> f64 {
        let by_cpu = (Self::cores(part, rate) / OF_A_CORE).ceil();
        match name {
            WHOLE => part.pods as f64,
            "ingester" => (rate * self.mode.replication / OF_A_POD).ceil().max(3.0),
            "compactor" => by_cpu.max(1.0),
            _ => by_cpu.max(2.0),
        }
    }

    /// Bytes of memory that one of so many pods gets: what it had, and what more spans take.
    fn memory(&self, name: &str, part: &Part, rate: f64, pods: f64) -> Result<f64> {
        let more = if ["compactor", "querier", "query-frontend"].contains(&name) {
            0.0
        } else {
            let copies = if name == "ingester" { self.mode.replication } else { 1.0 };
            let of_a_pod = |rate: f64, pods: f64| if name == WHOLE { rate } else { rate * copies / pods };
            let before = of_a_pod(self.figure(Figure::Throughput)?, part.pods as f64);
            HEAP * self.figure(Figure::Wire)? * (of_a_pod(rate, pods) - before).max(0.0)
        };
        Ok(half_gibibytes(HEADROOM * (part.peak_rss_bytes + more)))
    }

    fn tempo(&self, rate: f64) -> Result<Needs> {
        let mut needs = Needs {
            cores: HEADROOM * self.compaction * rate / 1e6,
            ..Needs::default()
        };
        for (name, part) in self.parts.iter().filter(|(name, _)| *name != COLLECTOR) {
            let pods = self.pods(name, part, rate);
            needs.pods += pods;
            needs.cores += Self::cores(part, rate);
            needs.memory += pods * self.memory(name, part, rate, pods)?;
        }
        needs.volumes = if FLEETS.contains(&self.mode.variant) {
            let log = self.figure(Figure::Log)? * IN_LOG;
            rate * (self.figure(Figure::Flushed)? * TWICE + log) * BUCKET_AWAY
        } else {
            rate * self.compacted()? * (KEPT + TWICE) / ROOM
        };
        Ok(needs)
    }

    fn collectors(&self, rate: f64) -> Result<Needs> {
        let part = self.parts.get(COLLECTOR).context("the report has no Collector")?;
        let wire = self.figure(Figure::Wire)?;
        let by_mirrors = if self.mode.variant == MIRROR {
            rate * wire / TO_A_MIRROR
        } else {
            0.0
        };
        let pods = (rate / OF_A_COLLECTOR).max(by_mirrors).ceil().max(2.0);
        let queues = if self.mode.variant == MIRROR { 2.0 } else { 1.0 };
        Ok(Needs {
            pods,
            cores: Self::cores(part, rate),
            memory: pods * self.memory(COLLECTOR, part, rate, pods)?,
            volumes: rate * wire * QUEUED * CLAIM * queues,
        })
    }

    /// Bytes of blocks when the oldest of them go, without those that a volume holds.
    fn bucket(&self, rate: f64) -> Result<Option<f64>> {
        if !FLEETS.contains(&self.mode.variant) {
            return Ok(None);
        }
        Ok(Some(rate * self.compacted()? * KEPT))
    }
}

fn measured(report: &Report, mode: Mode) -> Result<Measured> {
    let row = row(report, mode.variant)?;
    let parts = parts_of(row);
    let compaction = if parts.contains_key("compactor") {
        0.0
    } else {
        let tempos = parts.get(WHOLE).map_or(1, |part| part.pods);
        let fleet = parts_of(self::row(report, FLEETS[0])?);
        fleet.get("compactor").map_or(0.0, Part::cpu) * tempos as f64
    };
    // What Collectors send is the same in every mode, and only one Tempo tells it: parts read from each other, too.
    let mut figures = row.median.clone();
    let wire = self::row(report, DEFAULT)?.median.get(&Figure::Wire).copied();
    figures.extend(wire.map(|wire| (Figure::Wire, wire - SENT_ON)));
    Ok(Measured {
        mode,
        figures,
        parts,
        compaction,
    })
}

/// Bytes of a span that one Tempo sends to itself, beside what it gets, see the column "Tempo reads" in tests/README.md.
const SENT_ON: f64 = 105.0;

fn row<'a>(report: &'a Report, variant: &str) -> Result<&'a Row> {
    let row = report.row(PROFILE, variant).filter(|row| row.valid);
    row.ok_or_else(|| {
        Failure::usage(
            format!("the report has no valid row of {PROFILE} with {variant}"),
            "measure it: cargo xtask bench --sizing --report FILE",
        )
    })
}

fn parts_of(row: &Row) -> Parts {
    parts::medians(&row.samples.iter().map(|sample| &sample.parts).collect::<Vec<_>>())
}

/// The tables, in Markdown: what a million spans cost by part, and what follows for the rates.
///
/// Where the blocks of a fleet's copies weren't there in time to be measured, they are those of one copy, so many times.
pub fn table(report: &Report) -> Result<String> {
    let report = &with_copies(report);
    let modes = MODES.map(|mode| measured(report, mode));
    let modes: Vec<Measured> = modes.into_iter().collect::<Result<_>>()?;
    let seen = row(report, DEFAULT)?
        .median
        .get(&Figure::Throughput)
        .copied()
        .unwrap_or_default();
    let versions: Vec<String> = report
        .versions
        .iter()
        .map(|(tool, of)| format!("{tool} {of}"))
        .collect();
    Ok(format!(
        "{}\n{}\n{}\n",
        costs(report)?,
        needs(&modes, seen)?,
        wrapped(&format!(
            "Measured with {} on {} cores that the sender and others shared, in {} round{}, at up to {} spans/s. \
             Rates with a * are above that: what is said of them is in proportion to it.",
            versions.join(", "),
            report.machine.cores,
            report.rounds,
            if report.rounds == 1 { "" } else { "s" },
            thousands(seen)
        ))
    ))
}

/// The report, with what blocks take and cost in the fleet of several copies if only the other fleet has it.
fn with_copies(report: &Report) -> Report {
    let mut report = report.clone();
    let Ok(one) = row(&report, FLEETS[0]) else {
        return report;
    };
    let ingester = |parts: &Parts| parts.get("ingester")?.blocks_cpu_seconds_per_million_spans;
    let (bytes, cpu) = (one.median.get(&Figure::Flushed).copied(), ingester(&parts_of(one)));
    let copies = MODES[3].replication;
    let several = |row: &&mut Row| row.profile == PROFILE && row.variant == FLEETS[1];
    if let (Some(bytes), Some(cpu), Some(row)) = (bytes, cpu, report.rows.iter_mut().find(several)) {
        row.median.entry(Figure::Flushed).or_insert(copies * bytes);
        if ingester(&parts_of(row)).is_none() {
            let parts = row
                .samples
                .iter_mut()
                .filter_map(|sample| sample.parts.get_mut("ingester"));
            parts.for_each(|part| part.blocks_cpu_seconds_per_million_spans = Some(copies * cpu));
        }
    }
    report
}

fn wrapped(text: &str) -> String {
    text.replace(". ", ".\n")
}

/// CPU seconds for a million spans and resident sizes, by mode and part.
fn costs(report: &Report) -> Result<String> {
    let mut lines = vec![
        "| | Collectors | Tempo | of it distributor | ingester | compactor | querier and frontend | in log | flushed | compacted |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    let one = tempo_seconds(&parts_of(row(report, DEFAULT)?));
    let over_a_bucket = Mode {
        title: "one Tempo over a bucket",
        variant: IN_A_BUCKET,
        ..MODES[0]
    };
    for mode in [MODES[0], over_a_bucket, MODES[1], MODES[2], MODES[3]] {
        let row = row(report, mode.variant)?;
        let parts = parts_of(row);
        let part = |name: &str| {
            let part = parts.get(name)?;
            let seconds = part.cpu();
            Some(format!("{seconds:.1} s, {:.0} MiB", part.peak_rss_bytes / MIB))
        };
        let shown = |part: Option<String>| part.unwrap_or_else(|| "–".into());
        let queries = [parts.get("querier"), parts.get("query-frontend")];
        let queries = queries[0].zip(queries[1]).map(|(querier, frontend)| {
            let seconds = querier.cpu_seconds_per_million_spans + frontend.cpu_seconds_per_million_spans;
            format!("{:.1} s", seconds.max(0.0))
        });
        let whole = tempo_seconds(&parts);
        let memory = parts
            .get(WHOLE)
            .map(|part| format!(", {:.0} MiB", part.peak_rss_bytes / MIB));
        let bytes = |figure| {
            row.median
                .get(&figure)
                .map_or_else(|| "–".into(), |bytes| format!("{bytes:.0} B"))
        };
        lines.push(format!(
            "| {} | {} | {whole:.1} s ({:.2}){} | {} | {} | {} | {} | {} | {} | {} |",
            mode.title,
            shown(part(COLLECTOR)),
            whole / one,
            memory.unwrap_or_default(),
            shown(part("distributor")),
            shown(part("ingester")),
            shown(part("compactor")),
            shown(queries),
            bytes(Figure::Log),
            bytes(Figure::Flushed),
            bytes(Figure::Compacted),
        ));
    }
    Ok(lines.join("\n") + "\n")
}

/// CPU seconds of all parts of Tempo for a million spans.
fn tempo_seconds(parts: &Parts) -> f64 {
    let parts = parts.iter().filter(|(name, _)| *name != COLLECTOR);
    parts.map(|(_, part)| part.cpu()).sum()
}

fn needs(modes: &[Measured], seen: f64) -> Result<String> {
    let mut lines = vec![
        "| spans/s | Tempo as | its pods | cores | memory | volumes | blocks of 3 days in the bucket | Collectors | cores | memory | claims of the queues |".to_owned(),
        "|---|---|---|---|---|---|---|---|---|---|---|".to_owned(),
    ];
    for rate in RATES {
        for measured in modes.iter().filter(|measured| rate <= measured.mode.most) {
            let tempo = measured.tempo(rate)?;
            let collectors = measured.collectors(rate)?;
            let bucket = measured.bucket(rate)?.map_or_else(|| "–".into(), bytes);
            let mark = if rate > seen { " *" } else { "" };
            lines.push(format!(
                "| {}{mark} | {} | {} | {} | {} | {} | {bucket} | {} | {} | {} | {} |",
                thousands(rate),
                measured.mode.title,
                tempo.pods,
                cores(tempo.cores),
                bytes(tempo.memory),
                bytes(tempo.volumes),
                collectors.pods,
                cores(collectors.cores),
                bytes(collectors.memory),
                bytes(collectors.volumes),
            ));
        }
    }
    Ok(lines.join("\n") + "\n")
}

fn cores(cores: f64) -> String {
    if cores < 10.0 {
        format!("{cores:.1}")
    } else {
        format!("{cores:.0}")
    }
}

/// Bytes in GiB or TiB.
fn bytes(bytes: f64) -> String {
    let gibibytes = bytes / GIB;
    match gibibytes {
        _ if gibibytes >= 1024.0 => format!("{:.1} TiB", gibibytes / 1024.0),
        _ if gibibytes >= 10.0 => format!("{gibibytes:.0} GiB"),
        _ => format!("{gibibytes:.1} GiB"),
    }
}

/// Rounded up to half a GiB.
fn half_gibibytes(bytes: f64) -> f64 {
    (bytes / (GIB / 2.0)).ceil().max(1.0) * GIB / 2.0
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<String> = groups
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::super::report::{Sample, example};
    use super::*;

    fn row(variant: &str, parts: &[(&str, usize)]) -> Row {
        let part = |(name, pods): &(&str, usize)| {
            let part = Part {
                pods: *pods,
                cpu_seconds_per_million_spans: 20.0,
                blocks_cpu_seconds_per_million_spans: Some(5.0),
                peak_rss_bytes: 200.0 * MIB,
            };
            ((*name).to_owned(), part)
        };
        let figures = [
            (Figure::Throughput, 4_000.0),
            (Figure::Wire, 715.0),
            (Figure::Log, 190.0),
            (Figure::Flushed, 130.0),
            (Figure::Compacted, 130.0),
        ];
        Row {
            profile: PROFILE.into(),
            variant: variant.into(),
            valid: true,
            median: Figures::from(figures),
            ratio: Figures::new(),
            samples: vec![Sample {
                parts: parts.iter().map(part).collect(),
                ..Sample::default()
            }],
        }
    }

    fn report() -> Report {
        let fleet = |variant, ingesters| {
            let parts = [
                (COLLECTOR, 2),
                ("distributor", 1),
                ("ingester", ingesters),
                ("compactor", 1),
                ("querier", 1),
                ("query-frontend", 1),
            ];
            row(variant, &parts)
        };
        let mut report = example();
        report.rows = vec![
            row(DEFAULT, &[(COLLECTOR, 2), (WHOLE, 1)]),
            row(IN_A_BUCKET, &[(COLLECTOR, 2), (WHOLE, 1)]),
            row(MIRROR, &[(COLLECTOR, 2), (WHOLE, 2)]),
            fleet(FLEETS[0], 1),
            fleet(FLEETS[1], 3),
        ];
        report
    }

    #[test]
    fn blocks_of_copies_that_were_not_measured_are_those_of_one_so_many_times() {
        let mut report = report();
        let fleet = report.rows.last_mut().unwrap();
        fleet.median.remove(&Figure::Flushed);
        let ingester = fleet.samples[0].parts.get_mut("ingester").unwrap();
        ingester.blocks_cpu_seconds_per_million_spans = None;
        let table = table(&report).unwrap();
        let fleet = table.lines().find(|line| line.contains("replication 3")).unwrap();
        assert!(
            fleet.contains("| 35.0 s, 200 MiB |") && fleet.contains("| 390 B |"),
            "{fleet}"
        );
    }

    #[test]
    fn what_is_needed_follows_from_what_was_measured() {
        let one = measured(&report(), MODES[0]).unwrap();
        let needs = one.tempo(10_000.0).unwrap();
        // Twice 20 s for the load, 5 s for blocks and the 25 s of a compactor, for a hundredth of a million.
        assert!((needs.cores - 1.0).abs() < 1e-9, "{}", needs.cores);
        assert_eq!(needs.pods, 1.0);
        let third = 130.0 * 10_000.0 * (3.0 * 86_400.0 + 7_200.0) / 0.9;
        assert!((needs.volumes - third).abs() < 1.0, "{}", needs.volumes);
    }

    #[test]
    fn ten_times_the_spans_need_ten_times_the_cores_and_a_third_replica_more_ingesters() {
        let report = report();
        let [once, thrice] = [2, 3].map(|n| measured(&report, MODES[n]).unwrap());
        let cores = |rate| once.tempo(rate).unwrap().cores;
        assert!((cores(1e6) / cores(1e5) - 10.0).abs() < 1e-9);
        let ingesters = |of: &Measured| of.pods("ingester", &of.parts["ingester"], 1e6);
        assert_eq!((ingesters(&once), ingesters(&thrice)), (20.0, 60.0));
    }

    #[test]
    fn rates_above_what_was_seen_are_marked_and_a_report_without_a_mode_is_refused() {
        let mut report = report();
        let text = table(&report).unwrap();
        assert!(text.contains("| 10,000 * | one Tempo |"), "{text}");
        assert!(!text.contains("| 100,000 * | one Tempo |"), "{text}");
        report.rows.pop();
        let error = table(&report).unwrap_err();
        assert!(error.to_string().contains(FLEETS[1]), "{error:#}");
        let remedy = kit::failure::remedy_of(&error).unwrap_or_default();
        assert!(remedy.contains("--sizing"), "{remedy}");
    }
}
