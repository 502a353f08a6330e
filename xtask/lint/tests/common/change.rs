//! Changes to rendered objects, so that a test can break one thing in a real render.

#![allow(clippy::unwrap_used)]

use charts::manifest::Manifest;
use serde_yaml::Value;

/// The label by which a change finds its object: names differ from release to release.
const COMPONENT: &str = "app.kubernetes.io/component";

/// Which renders a change is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    Always,
    /// The case's own, not those that rules compare it with.
    Once,
    /// Those that rules compare it with.
    Again,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy)]
pub enum What {
    /// Sets a value (YAML) at a path; `-` appends to a list.
    Set(&'static str, &'static str),
    Remove(&'static str),
    /// Adds the object a second time.
    Repeat,
}

/// One change to the object of a kind and component. A path is that of JSON pointers (`~1` is a
/// slash inside a name); one that begins with `config:` goes into the first file of a ConfigMap.
#[derive(Debug, Clone, Copy)]
pub struct Change(pub When, pub &'static str, pub &'static str, pub What);

/// Sets a value in all renders.
pub const fn set(kind: &'static str, component: &'static str, path: &'static str, yaml: &'static str) -> Change {
    Change(When::Always, kind, component, What::Set(path, yaml))
}

/// Removes a value in all renders.
pub const fn remove(kind: &'static str, component: &'static str, path: &'static str) -> Change {
    Change(When::Always, kind, component, What::Remove(path))
}

impl Change {
    /// Only in the case's own render.
    pub const fn once(self) -> Change {
        Change(When::Once, self.1, self.2, self.3)
    }

    /// Only in the renders that it is compared with.
    pub const fn again(self) -> Change {
        Change(When::Again, self.1, self.2, self.3)
    }

    /// Applies the change; fails where the object or the path is not there.
    pub fn apply(&self, manifests: &mut Vec<Manifest>) {
        let Change(_, kind, component, what) = self;
        let found = manifests.iter().position(|manifest| {
            manifest.kind == *kind && manifest.get_str(&["metadata", "labels", COMPONENT]) == Some(component)
        });
        let index = found.unwrap_or_else(|| panic!("no {kind} of {component} to change"));
        if let What::Repeat = what {
            let copy = manifests[index].clone();
            manifests.push(copy);
            return;
        }
        let manifest = &mut manifests[index];
        let path = match what {
            What::Set(path, _) | What::Remove(path) => *path,
            What::Repeat => unreachable!(),
        };
        let new = match what {
            What::Set(_, yaml) => Some(serde_yaml::from_str(yaml).unwrap()),
            _ => None,
        };
        match path.strip_prefix("config:") {
            None => put(&mut manifest.value, path, new),
            Some(path) => {
                let data = manifest.value["data"].as_mapping_mut().unwrap();
                let (file, text) = data.iter_mut().next().unwrap();
                let mut config: Value = serde_yaml::from_str(text.as_str().unwrap()).unwrap();
                put(&mut config, path, new);
                *text = Value::from(if file.as_str().unwrap().ends_with(".json") {
                    serde_json::to_string(&config).unwrap()
                } else {
                    serde_yaml::to_string(&config).unwrap()
                });
            }
        }
        if let Some(name) = manifest.get_str(&["metadata", "name"]) {
            manifest.name = name.to_owned();
        }
        manifest.text = serde_yaml::to_string(&manifest.value).unwrap();
    }
}

fn put(root: &mut Value, path: &str, new: Option<Value>) {
    let names: Vec<String> = path.split('/').skip(1).map(|name| name.replace("~1", "/")).collect();
    let (last, parents) = names.split_last().unwrap();
    let mut at = root;
    for name in parents {
        at = match at {
            Value::Sequence(list) => &mut list[name.parse::<usize>().unwrap()],
            Value::Mapping(map) => map
                .entry(name.as_str().into())
                .or_insert_with(|| Value::Mapping(Default::default())),
            other => panic!("{path}: {other:?} has no {name}"),
        };
    }
    match (at, new) {
        (Value::Sequence(list), Some(new)) if last == "-" => list.push(new),
        (Value::Sequence(list), Some(new)) => list[last.parse::<usize>().unwrap()] = new,
        (Value::Mapping(map), Some(new)) => {
            map.insert(last.as_str().into(), new);
        }
        (Value::Mapping(map), None) => {
            map.remove(last.as_str())
                .unwrap_or_else(|| panic!("{path} is not there"));
        }
        (other, _) => panic!("{path}: {other:?} can't be changed"),
    }
}
