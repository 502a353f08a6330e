//! A page as a real browser shows it. `cargo xtask test` runs this where it finds a browser; XTASK_BROWSER names one.

use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kit::step::{Cancel, Runner, Step};
use page::document::{Document, Host, Kind, Run};
use serde::Deserialize;
use serde_json::{Value, json};

/// WCAG 2.2, criterion 1.4.3, for text of the usual size.
const CONTRAST: f64 = 4.5;

/// What look.html saw of the page at one width.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seen {
    width: u32,
    overflow: i32,
    dark: bool,
    verdict: String,
    verdict_seen: bool,
    headings: Vec<String>,
    scripts: usize,
    loaded: Vec<String>,
    broken_links: Vec<String>,
    headless: usize,
    tables: usize,
    plots: usize,
    lowest_contrast: Contrast,
}

#[derive(Debug, Deserialize)]
struct Contrast {
    ratio: f64,
    text: String,
}

/// What a browser said of a page.
struct Looked {
    /// At 400 and at 1280 pixels.
    seen: Vec<Seen>,
    /// What stood in the console.
    console: Vec<String>,
    /// Connections that it tried to open.
    connections: usize,
}

/// Accepts and closes whatever comes, and counts it.
fn count_connections() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = connection.write_all(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
        }
    });
    (port, count)
}

fn look(html: &str, dark: bool) -> Looked {
    let browser = std::env::var_os("XTASK_BROWSER").expect(
        "XTASK_BROWSER names no browser: install chromium-headless-shell or chromium and run `cargo xtask test`",
    );
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.html"), html).unwrap();
    let frames = folder.path().join("look.html");
    std::fs::write(&frames, include_str!("look.html")).unwrap();
    // Everything that isn't a file goes through this proxy, loopback too.
    let (port, connections) = count_connections();
    let step = Step::new("look at the page", &browser)
        .args([
            "--headless",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
        ])
        // Its sandbox isn't for root; all that it opens is a file of ours.
        .arg("--no-sandbox")
        .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
        .arg(format!("--proxy-server=127.0.0.1:{port}"))
        .arg("--proxy-bypass-list=<-loopback>")
        .arg(format!(
            "--blink-settings=preferredColorScheme={}",
            if dark { 0 } else { 1 }
        ))
        .args([
            "--allow-file-access-from-files",
            "--hide-scrollbars",
            "--window-size=1800,900",
            "--enable-logging=stderr",
        ])
        .args(["--dump-dom".to_owned(), url(&frames)])
        .timeout(Duration::from_secs(120));
    let output = Runner::new(Cancel::default(), false).run(&step).unwrap();
    let seen = output
        .stdout
        .split_once("<pre id=\"seen\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"));
    let (seen, _) = seen.unwrap_or_else(|| panic!("the browser didn't look: {}\n{}", output.stdout, output.stderr));
    let console = output.stderr.lines().filter(|line| line.contains(":CONSOLE"));
    Looked {
        seen: serde_json::from_str(seen).unwrap_or_else(|error| panic!("{error}: {seen}\n{}", output.stderr)),
        console: console.map(str::to_owned).collect(),
        connections: connections.load(Ordering::SeqCst),
    }
}

fn url(file: &Path) -> String {
    format!("file://{}", file.display())
}

/// A name that is harmful where it isn't escaped, and too long for a phone.
const EVIL: &str = "<script>console.error('ran')</script><img src=http://evil.test/x.png onerror=console.error(1)>";

fn document(kind: Kind, report: &Value) -> Document {
    let run = Run {
        command: format!("cargo xtask {} {}", kind.command(), "--scenario=".repeat(40)),
        started: "2026-01-02T03:04:05Z".into(),
        seed: u64::MAX,
        commit: Some("0123456789ab-dirty".into()),
        host: Host::this(),
    };
    Document::new(kind, &run, report).unwrap()
}

fn e2e() -> Value {
    let check = |name: &str, status: &str| json!({"name": name, "status": status, "detail": "x".repeat(300)});
    let scenario = |name: &str, status: &str| {
        json!({"name": name, "proves": "that it works", "status": status, "seconds": 61.5, "checks": [
            check("held", "passed"), check("not asked", "skipped"), check(EVIL, status),
            {"name": "ack to by-id", "status": "measured", "detail": "median", "value": 1082.5, "unit": "ms"},
        ]})
    };
    json!({"backend": "local", "versions": {"tempo": "2.10.8"}, "seconds": 100.0, "scenarios": [
        scenario("roundtrip", "passed"), scenario(EVIL, "failed"), scenario("s3", "passed"),
    ]})
}

fn bench() -> Value {
    let figures = json!({
        "collector_cpu_seconds_per_million_spans": 9.5, "tempo_cpu_seconds_per_million_spans": 7.1,
        "acknowledged_spans_per_second": 43_800.0, "answer_median_seconds": 0.01, "answer_p99_seconds": 0.09,
        "found_by_id_median_seconds": 0.9, "found_by_id_p99_seconds": 2.0,
        "found_by_search_median_seconds": 1.7, "found_by_search_p99_seconds": 3.1,
    });
    let row = |variant: &str| {
        let sample = json!({"round": 1, "invalid": [], "figures": figures, "not_measured": {"compacted": EVIL}});
        json!({"profile": "10-spans", "variant": variant, "valid": true, "median": figures, "ratio": figures,
            "samples": [sample, sample]})
    };
    let seconds = "collector_cpu_seconds_per_million_spans";
    json!({"versions": {}, "machine": {"load_before": 0.1, "load_after": 2.0}, "rounds": 2, "seconds": 30.0,
        "profiles": [{"name": "10-spans", "spans_per_request": 10, "spans_per_trace": 10, "connections": 2,
            "spans_per_second": null}],
        "variants": [{"name": "default", "about": EVIL, "tempo": {"ingester.trace_idle_period": "1s"}}],
        "figures": [{"name": seconds, "title": "Collector CPU", "unit": "s/M spans", "scale": 1.0}],
        "history": [{"profile": "10-spans", "variant": "default", seconds: 49.2,
            "tempo_cpu_seconds_per_million_spans": 9.6}],
        "bounds": [{"profile": "10-spans", "figure": seconds, "variant": "default", "to": "memory-queue", "then": 1.8,
            "ratio": 1.9, "goal": 1.4, "at_most": 3.0, "holds": true}],
        "comparison": {"command": EVIL, "rows": [{"profile": "10-spans", "variant": "default",
            "figures": {seconds: {"old": 9.0, "new": 9.5, "ratio": 1.06}}}]},
        "rows": [row("default"), row(EVIL)]})
}

fn faults() -> Value {
    let spans = json!({"acknowledged": 9000, "refused": 1, "unknown": 2, "found": 8990, "lost": 7, "duplicates": 0});
    let late = json!({"median": 1.5, "p99": 8.0, "longest": 14.0});
    let fault = |name: &str, status: &str| {
        json!({"name": name, "does": EVIL, "promise": "0 lost", "lost_at_most": 0, "status": status,
            "proof": "process 17 is gone", "detail": "7 lost", "spans": spans, "late": late,
            "recovered_seconds": 4.2, "recovers": {"by_hand": "someone"}})
    };
    json!({"backend": "local", "versions": {}, "seconds": 30.0,
        "faults": [fault("kill-tempo", "kept"), fault("cut-off", "broken"), fault("slow-disk", "skipped")],
        "soak": {"seconds": 3600.0, "rate": 1000.0, "kept": true, "broken": [], "lost_at_most": 9, "spans": spans,
            "late": late, "checked_again": 5, "gone": 0, "faults": [], "memory": [{"process": EVIL,
                "samples": [[0.0, 100_000_000], [60.0, 110_000_000]], "early": 1, "late": 2, "flat": false}]}})
}

fn reports() -> Vec<Document> {
    vec![
        document(Kind::E2e, &e2e()),
        document(Kind::Bench, &bench()),
        document(Kind::Faults, &faults()),
    ]
}

#[test]
fn a_page_is_whole_readable_and_silent_on_a_phone_and_on_a_desk_in_both_colour_schemes() {
    let html = page::html(&reports()).unwrap();
    for dark in [false, true] {
        let looked = look(&html, dark);
        assert_eq!(looked.console, [""; 0]);
        assert_eq!(looked.connections, 0);
        assert_eq!(
            looked.seen.iter().map(|seen| seen.width).collect::<Vec<_>>(),
            [400, 1280]
        );
        for seen in looked.seen {
            assert_eq!(seen.dark, dark);
            assert_eq!(seen.overflow, 0, "of {} pixels", seen.width);
            assert!(
                seen.verdict_seen && seen.verdict == "failed 2 of 3 reports failed",
                "{seen:?}"
            );
            for name in ["roundtrip", EVIL, "s3", "Soak"] {
                assert!(
                    seen.headings.iter().any(|heading| heading.starts_with(name)),
                    "{name}: {seen:?}"
                );
            }
            assert_eq!(
                (seen.scripts, seen.loaded.len(), seen.broken_links.len()),
                (0, 0, 0),
                "{seen:?}"
            );
            assert_eq!(seen.headless, 0, "tables without heads");
            assert!(seen.tables > 15, "{seen:?}");
            assert_eq!(seen.plots, 6);
            let Contrast { ratio, text } = seen.lowest_contrast;
            assert!(
                ratio >= CONTRAST,
                "the contrast of {text:?} is {ratio:.2}, dark: {dark}"
            );
        }
    }
}

/// The same look at a page with all of these faults: that it finds each of them.
#[test]
fn what_is_wrong_with_a_page_is_seen() {
    let html = page::html(&reports()).unwrap();
    let policy = html
        .lines()
        .find(|line| line.contains("Content-Security-Policy"))
        .unwrap();
    let bad = "<p style='width:2000px;color:#999'>pale and wide</p><img src='http://evil.test/x.png' alt=''>\
        <a href='#nowhere'>lost</a><table><tr><td>1</td></tr></table><script>console.error('ran')</script></main>";
    let looked = look(&html.replace(policy, "").replace("</main>", bad), false);
    assert!(
        looked.console.iter().any(|line| line.contains("ran")),
        "{:?}",
        looked.console
    );
    assert!(looked.connections > 0);
    for seen in looked.seen {
        assert!(seen.overflow > 0 && seen.scripts == 1 && seen.headless == 1, "{seen:?}");
        assert_eq!(seen.broken_links, ["#nowhere"]);
        assert_eq!(seen.loaded, ["http://evil.test/x.png"]);
        assert!(seen.lowest_contrast.ratio < CONTRAST);
    }
}

/// Even if something got past the escaping: the page forbids it.
#[test]
fn the_page_itself_forbids_scripts_and_requests() {
    let html = page::html(&reports()).unwrap();
    let bad = "<img src='http://evil.test/x.png' alt=''><script>document.title = 'ran'</script></main>";
    let looked = look(&html.replace("</main>", bad), false);
    assert_eq!(looked.connections, 0);
    let refused = |what: &str| {
        looked
            .console
            .iter()
            .any(|line| line.contains(what) && line.contains("Content Security Policy"))
    };
    assert!(refused("evil.test") && refused("script"), "{:?}", looked.console);
}
