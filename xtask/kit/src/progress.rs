//! Progress of long work: a bar on a terminal, a plain line now and then everywhere else.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How often a plain line is printed where there is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// A line on standard error. That nobody reads it any more (`2>&1 | head`, a closed terminal) must not
/// end the work, nor its clean-up.
pub fn say(line: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One long task. Dropping it removes the bar.
pub struct Progress {
    name: String,
    bar: Option<ProgressBar>,
    total: u64,
    done: u64,
    last_line: Instant,
    quiet: bool,
}

impl Progress {
    /// Starts a task of `total` parts; 0 where the number isn't known yet.
    pub fn start(name: impl Into<String>, total: u64, quiet: bool) -> Progress {
        let name = name.into();
        let bar = (std::io::stderr().is_terminal() && !quiet).then(|| {
            let bar = ProgressBar::new_spinner();
            style(&bar, "{spinner} {prefix} {wide_msg} {elapsed}");
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() && !quiet {
            say(format_args!("{name} ..."));
        }
        let mut progress = Progress {
            name,
            bar,
            total: 0,
            done: 0,
            last_line: Instant::now(),
            quiet,
        };
        if total > 0 {
            progress.set_total(total);
        }
        progress
    }

    /// Says how many parts the task has.
    pub fn set_total(&mut self, total: u64) {
        self.total = total;
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            style(bar, "{prefix} [{bar:30}] {pos}/{len} {wide_msg} {elapsed}");
        }
    }

    /// One more part is done; `message` says which.
    pub fn advance(&mut self, message: &str) {
        self.done += 1;
        match &self.bar {
            Some(bar) => {
                bar.set_position(self.done.min(self.total));
                bar.set_message(message.to_owned());
            }
            None if !self.quiet && self.last_line.elapsed() >= PLAIN_INTERVAL => {
                self.last_line = Instant::now();
                match self.total {
                    0 => say(format_args!("{}: {message}", self.name)),
                    total => say(format_args!("{}: {}/{total} {message}", self.name, self.done)),
                }
            }
            None => {}
        }
    }

    /// Ends the task with a line that stays.
    pub fn finish(self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !self.quiet {
            say(format_args!("{}: {message}", self.name));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(bar: &ProgressBar, template: &str) {
    // The templates are ours; a mistake in one leaves the default look.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
}
