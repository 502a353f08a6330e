//! Follows the table, key by key.

use charts::render::{merge, set};
use serde_yaml::{Mapping, Value};

use crate::report::{Report, Unknown};
use crate::table::{Fate, Place, Table};
use crate::{secrets, tempo};

/// The paths at which the charts hold Tempo's configuration as a text.
const TEXTS: [&str; 2] = ["config", "tempo.configuration"];

/// The reason for a key to which the table has no answer, which no key of the charts has.
pub const UNANSWERED: &str = "Nothing is known of it; compare the values of both charts.";

/// What values of another chart are here.
#[derive(Debug)]
pub struct Migration {
    /// Values of our chart.
    pub values: Value,
    /// What became of the rest.
    pub report: Report,
}

/// Turns values of another chart into ours. Every key is set, or stands in the report.
pub fn convert(table: &Table, mut source: Value) -> Migration {
    let mut walk = Walk {
        table,
        values: Value::Mapping(Mapping::new()),
        report: Report::default(),
        credentials: tempo::Credentials::default(),
        inside: false,
    };
    let text = TEXTS.into_iter().find(|path| table.has(path)).unwrap_or_default();
    tempo::parse_text(&mut source, text);
    secrets::take_out(&mut source, "", &mut walk.report.secrets);
    walk.credentials.read(&source, &walk.report.secrets);
    // The text replaces what the chart would write, so it is read last.
    let mut rest = source.clone();
    let configuration = take(&mut rest, text).unwrap_or_default();
    walk.children("", &rest, &Fate::Open);
    walk.configuration(text, &configuration);
    walk.finish(&source)
}

/// A path and a key inside it, as one path.
pub(crate) fn join(above: &str, key: &str) -> String {
    if above.is_empty() {
        key.to_owned()
    } else {
        format!("{above}.{key}")
    }
}

/// The value at a path.
pub(crate) fn get<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    charts::manifest::lookup(value, &path.split('.').collect::<Vec<_>>())
}

/// Takes the value at a path out of a map, and the maps that are empty without it.
pub(crate) fn take(value: &mut Value, path: &str) -> Option<Value> {
    let map = value.as_mapping_mut()?;
    let Some((key, rest)) = path.split_once('.') else {
        return map.shift_remove(path);
    };
    let inside = map.get_mut(key)?;
    let taken = take(inside, rest)?;
    if inside.as_mapping().is_some_and(Mapping::is_empty) {
        map.shift_remove(key);
    }
    Some(taken)
}

pub(crate) struct Walk<'a> {
    pub table: &'a Table,
    pub values: Value,
    pub report: Report,
    pub credentials: tempo::Credentials,
    /// Whether this is inside Tempo's configuration, whose keys are Tempo's and not the chart's.
    pub inside: bool,
}

impl Walk<'_> {
    fn children(&mut self, path: &str, value: &Value, fate: &Fate) {
        for (key, value) in value.as_mapping().into_iter().flatten() {
            // What YAML reads as a number or a Boolean is a text in a path.
            let key = match key {
                Value::String(key) => key.clone(),
                other => serde_yaml::to_string(other).unwrap_or_default().trim().to_owned(),
            };
            let inherited = match fate {
                Fate::Here(ours) => Fate::Here(join(ours, &key)),
                other => other.clone(),
            };
            let below = join(path, &key);
            // For what the whole map shares, the map is named.
            if let Fate::Nowhere(reason) = fate
                && self.table.has(&below)
                && self.table.rule(&below).is_none()
                && self.table.rules_below(&below).is_empty()
            {
                self.report.nowhere(&join(path, "*"), reason);
                continue;
            }
            self.visit(&below, value, inherited);
        }
    }

    /// One key of theirs. `inherited` is what the rule of the map that it stands in makes of it.
    pub(crate) fn visit(&mut self, path: &str, value: &Value, inherited: Fate) {
        let rule = self.table.rule(path);
        let below = self.table.rules_below(path);
        if !(self.inside || self.table.has(path) || self.table.takes_any_beside(path)) {
            let meant = self.table.nearest(path);
            return self.report.unknown.push(Unknown {
                key: path.to_owned(),
                meant,
            });
        }
        let same = || match self.table.place(path) {
            Place::Missing => Fate::Open,
            _ => Fate::Here(path.to_owned()),
        };
        let fate = rule.unwrap_or_else(|| if inherited == Fate::Open { same() } else { inherited });
        let off = value.is_null() || value == &Value::Bool(false);
        if let Fate::Here(ours) = &fate
            && let Some(remark) = self.table.remark(path).filter(|_| below.is_empty() && !off)
        {
            self.report.remarks.push(format!("{path} is {ours} here, {remark}"));
        }
        match &fate {
            // A receiver is switched off by a null, and so is a group of them.
            _ if value.is_null() && path.starts_with("tempo.receivers") && !below.is_empty() => {
                for path in below.iter().filter(|path| !path.ends_with('*')) {
                    self.visit(path, value, Fate::Open);
                }
            }
            _ if path == "tempo.metricsGenerator" => self.generator(path, value, &fate),
            Fate::Here(ours) if path.starts_with("tempo.receivers.") && ours.ends_with(".enabled") => {
                self.receiver(path, value, ours);
            }
            Fate::Here(ours) if below.is_empty() => match self.table.place(ours) {
                Place::Section if value.is_mapping() => self.children(path, value, &fate),
                _ => self.put(path, value, ours),
            },
            Fate::Nowhere(reason) if below.is_empty() => self.report.nowhere(path, reason),
            _ if value.is_null() => {}
            _ if value.is_mapping() => self.children(path, value, &fate),
            Fate::Nowhere(reason) => self.report.nowhere(path, reason),
            _ if get(&self.table.keys, path).is_some_and(Value::is_mapping) => {
                let reason = format!("A map is expected, not {}.", kind(value));
                self.report.nowhere(path, &reason);
            }
            _ => self.report.nowhere(path, UNANSWERED),
        }
    }

    /// Sets a key of ours, unless the value leaves it to the chart, as null and everything empty do.
    pub(crate) fn put(&mut self, path: &str, value: &Value, ours: &str) {
        // `2.9.0@sha256:…` is both, and `image.tag` takes the tag alone.
        if ours == "tempo.image.tag"
            && let Some((tag, digest)) = value.as_str().and_then(|text| text.split_once('@'))
        {
            self.put(path, &tag.into(), ours);
            return self.put(path, &digest.into(), "tempo.image.digest");
        }
        let (ours, value) = match tempo::change(path, ours, value) {
            Some((ours, value)) => (ours, value),
            None => (ours.to_owned(), value.clone()),
        };
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Sequence(items) => items.is_empty(),
            Value::Mapping(map) => map.is_empty(),
            _ => false,
        };
        if empty {
            return;
        }
        let wrong = |wanted: &str| format!("{ours} takes {wanted}, not {}.", kind(&value));
        match self.table.place(&ours) {
            Place::Missing => {
                let section = ours.rsplit_once('.').map_or(ours.as_str(), |(section, _)| section);
                return self
                    .report
                    .nowhere(path, &format!("There is no such key in {section}."));
            }
            Place::Section => return self.report.nowhere(path, &wrong("a map")),
            // Which texts are numbers too is for the schema to say.
            Place::Value(default)
                if !default.is_null()
                    && kind(default) != kind(&value)
                    && !(is_scalar(default) && is_scalar(&value)) =>
            {
                return self.report.nowhere(path, &wrong(kind(default)));
            }
            _ => {}
        }
        let keys: Vec<&str> = ours.split('.').collect();
        let mut new = Value::Mapping(Mapping::new());
        match (get(&self.values, &ours), value) {
            (Some(Value::Sequence(old)), Value::Sequence(more)) => {
                set(&mut new, &keys, Value::Sequence([old.clone(), more].concat()));
            }
            (_, value) => set(&mut new, &keys, value),
        }
        merge(&mut self.values, new);
        self.report.set += 1;
    }

    /// Tells the defaults that differ, of keys that are left out.
    fn differences(&mut self, source: &Value) {
        for difference in &self.table.rules.differences {
            let set = |ours: &String| get(&self.values, ours).is_some();
            if !self.table.has(&difference.key)
                || get(source, &difference.key).is_some()
                || difference.ours.as_ref().is_some_and(set)
            {
                continue;
            }
            let here = match difference.ours.as_deref().map(|ours| (ours, self.table.place(ours))) {
                Some((ours, Place::Value(default))) => format!("{ours} here is {}", scalar(default)),
                Some((ours, _)) => format!("{ours} here is off"),
                None => "nothing does that here".to_owned(),
            };
            let (key, theirs) = (&difference.key, &difference.theirs);
            self.report
                .differences
                .push(format!("{key} is {theirs} there by default; {here}."));
        }
    }

    fn finish(mut self, source: &Value) -> Migration {
        self.differences(source);
        self.credentials.apply(&mut self.values, &mut self.report);
        tempo::repair(&mut self.values, &mut self.report);
        Migration {
            values: self.values,
            report: self.report,
        }
    }
}

/// What a value is, for people.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::String(_) | Value::Tagged(_) => "a text",
    }
}

fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::Bool(_) | Value::Number(_) | Value::String(_))
}

/// A scalar as YAML writes it.
fn scalar(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default().trim_end().to_owned()
}
