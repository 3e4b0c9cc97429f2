//! Resolution of a project: what its requirements and those of what they bring lead to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use bakery_events::Reporter;
use pubgrub::Ranges;

use crate::fetch::{Fetched, Fetcher, locked, side_by_side};
use crate::lock::{LockFile, Pin};
use crate::requirements::{Kind, Requirement, Source};
use crate::resolve::{self, Index, Need, Package};
use crate::version::{Version, Wanted};
use crate::{Error, Result};

/// What a resolution may keep, and what it must do without.
#[derive(Debug, Default)]
pub struct Preferences {
    /// Pins that stay if they still fit.
    pub kept: Vec<Pin>,
    /// Versions of installed collections, which stay if they still fit.
    pub installed: HashMap<String, Version>,
    /// Whether only what is asked for by name is taken.
    pub no_deps: bool,
    /// Whether what cannot be had is left out with a warning.
    pub ignore_errors: bool,
}

/// Something resolved: where it stands in the lock, and its files if they were read on the way.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What is locked.
    pub pin: Pin,
    /// Its files.
    pub fetched: Option<Fetched>,
    /// Where signatures of its manifest are.
    pub signatures: Vec<String>,
}

struct Graph<'a> {
    fetcher: &'a Fetcher,
    preferences: &'a Preferences,
    reporter: &'a dyn Reporter,
    /// Where each package comes from: the first that names it decides, as for ansible-galaxy.
    sources: Mutex<HashMap<Package, Source>>,
    /// What the project itself asks of a package.
    asked: HashMap<Package, Wanted>,
    fetched: Mutex<HashMap<(Package, String), Fetched>>,
    needs: Mutex<HashMap<(Package, String), Vec<Need>>>,
    warned: Mutex<HashSet<String>>,
}

fn package(requirement: &Requirement) -> Package {
    Package::Named(requirement.kind, requirement.name.clone())
}

/// The versions that a requirement allows. Of a repository with a collection, what is asked for is a place in it; the
/// version is what is found there.
fn range(requirement: &Requirement) -> Ranges<Version> {
    match (requirement.kind, &requirement.source) {
        (Kind::Collection, Source::Git(..)) => Ranges::full(),
        _ => requirement.wanted.range(),
    }
}

impl Graph<'_> {
    fn warn(&self, text: String) {
        if locked(&self.warned).insert(text.clone()) {
            self.reporter.warn(&text);
        }
    }

    fn source(&self, package: &Package) -> Result<Source> {
        locked(&self.sources)
            .get(package)
            .cloned()
            .ok_or_else(|| Error::new(format!("nobody said where {package} comes from")))
    }

    /// A pin of a package that stays.
    fn kept(&self, package: &Package) -> Option<&Pin> {
        let source = self.source(package).ok();
        self.preferences.kept.iter().find(|pin| {
            Package::Named(pin.kind, pin.name.clone()) == *package
                && source.as_ref().is_none_or(|s| *s == pin.source)
        })
    }

    fn fetch(&self, package: &Package, version: &Version) -> Result<Fetched> {
        let key = (package.clone(), version.text().to_owned());
        if let Some(known) = locked(&self.fetched).get(&key) {
            return Ok(known.clone());
        }
        let Package::Named(kind, name) = package else {
            return Err(Error::new("the project is not fetched"));
        };
        let source = self.source(package)?;
        let fetched = self
            .fetcher
            .fetch(*kind, &source, version)
            .map_err(|e| e.about(format!("the {kind} {name} could not be had from {source}")))?;
        locked(&self.fetched).insert(key, fetched.clone());
        Ok(fetched)
    }

    /// What a pin that stays needs, if all of that stays, too.
    fn kept_needs(&self, package: &Package, version: &Version) -> Option<Vec<Need>> {
        let pin = self.kept(package).filter(|pin| pin.version == version.text())?;
        let find = |key: &String| self.preferences.kept.iter().find(|pin| pin.key() == *key);
        let needed: Vec<&Pin> = pin.needs.iter().map(find).collect::<Option<_>>()?;
        let need = |pin: &Pin| {
            let needed = Package::Named(pin.kind, pin.name.clone());
            locked(&self.sources).entry(needed.clone()).or_insert_with(|| pin.source.clone());
            (needed, Ranges::full())
        };
        Some(needed.into_iter().map(need).collect())
    }

    /// What a version needs by its own files, or by what its server says of it.
    fn looked_up(&self, package: &Package, version: &Version) -> Result<Vec<Need>> {
        let Package::Named(kind, name) = package else { return Ok(vec![]) };
        let source = self.source(package)?;
        let listed = *kind == Kind::Collection && matches!(source, Source::Galaxy(..));
        let read = locked(&self.fetched).contains_key(&(package.clone(), version.text().to_owned()));
        let dependencies = if listed && self.preferences.installed.get(name) == Some(version) {
            // It is here with all that it needs, or the user wanted it without.
            vec![]
        } else if listed && !read {
            self.fetcher
                .listed_dependencies(&source, version)
                .map_err(|e| e.about(format!("{package} {version} could not be looked up")))?
        } else {
            self.fetch(package, version)?.dependencies
        };
        let mut needs = Vec::new();
        for dependency in dependencies.iter().filter(|_| !self.preferences.no_deps) {
            for part in self.named(dependency)? {
                needs.push(self.noted(&part, &package.to_string()));
            }
        }
        Ok(needs)
    }

    /// Takes note of where a requirement comes from, and gives what it asks as the solver wants it.
    fn noted(&self, requirement: &Requirement, by: &str) -> Need {
        let package = package(requirement);
        let mut sources = locked(&self.sources);
        let known = sources.entry(package.clone()).or_insert_with(|| requirement.source.clone()).clone();
        drop(sources);
        if known != requirement.source && !matches!(requirement.source, Source::Galaxy(..)) {
            self.warn(format!("{package} is taken from {known}; {by} names {} for it", requirement.source));
        }
        let range = match self.asked.get(&package) {
            // What the project pins is meant: it decides over what a role pins.
            Some(own) if requirement.kind == Kind::Role && own.exact().is_some() => {
                if !requirement.wanted.range().contains(own.exact().unwrap_or(&Version::new(""))) {
                    self.warn(format!(
                        "{by} wants {package} at `{}`, and the project pins `{own}`, which is taken",
                        requirement.wanted
                    ));
                }
                Ranges::full()
            }
            _ => range(requirement),
        };
        (package, range)
    }

    /// The requirements behind one: names for those that have none yet.
    fn named(&self, requirement: &Requirement) -> Result<Vec<Requirement>> {
        let concrete =
            requirement.kind == Kind::Collection && !matches!(requirement.source, Source::Galaxy(..));
        if !concrete {
            return Ok(vec![requirement.clone()]);
        }
        let about = |e: Error| e.about(format!("the collection of {} could not be had", requirement.source));
        let parts = self.fetcher.split(requirement).map_err(about)?;
        if parts.is_empty() {
            return Err(Error::new(format!("{} holds no collection", requirement.source)));
        }
        let at = match &requirement.source {
            Source::Git(..) => requirement.wanted.exact().cloned().unwrap_or_else(|| Version::new("")),
            _ => Version::new(""),
        };
        let mut all = Vec::new();
        for mut part in parts {
            let fetched = self.fetcher.fetch(Kind::Collection, &part.source, &at).map_err(about)?;
            part.name = fetched.name.clone();
            let package = package(&part);
            let key = (package.clone(), fetched.version.text().to_owned());
            locked(&self.sources).entry(package).or_insert_with(|| part.source.clone());
            locked(&self.fetched).insert(key, fetched);
            all.push(part);
        }
        Ok(all)
    }

    /// Reads ahead, several at a time, what the solver will ask for one by one.
    fn read_ahead(&self, roots: &[Requirement]) -> Result<()> {
        let mut wave: Vec<Package> = roots.iter().map(package).collect();
        let mut seen: HashSet<Package> = wave.iter().cloned().collect();
        let mut ranges: HashMap<Package, Ranges<Version>> =
            roots.iter().map(|r| (package(r), range(r))).collect();
        while !wave.is_empty() {
            let found = side_by_side(&wave, |package| {
                let full = Ranges::full();
                let range = ranges.get(package).unwrap_or(&full);
                match self.choose(package, range)? {
                    Some(version) => self.needs(package, &version),
                    None => Ok(vec![]),
                }
            });
            wave.clear();
            for needs in found {
                for (package, range) in needs? {
                    if seen.insert(package.clone()) {
                        ranges.insert(package.clone(), range);
                        wave.push(package);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Index for Graph<'_> {
    fn choose(&self, package: &Package, range: &Ranges<Version>) -> Result<Option<Version>> {
        let Package::Named(kind, name) = package else { return Ok(None) };
        if let Some(pin) = self.kept(package) {
            let version = Version::new(&pin.version);
            if range.contains(&version) {
                return Ok(Some(version));
            }
        }
        if *kind == Kind::Collection
            && let Some(installed) = self.preferences.installed.get(name).filter(|v| range.contains(v))
        {
            return Ok(Some(installed.clone()));
        }
        let source = self.source(package)?;
        let any = *range == Ranges::full();
        match (&source, kind) {
            (Source::Git(..), Kind::Role) if any => return Ok(Some(Version::new(""))),
            // These have lists of versions.
            (Source::Galaxy(..), _) | (Source::Git(..), Kind::Role) => {}
            (_, Kind::Role) => {
                // There is one version, whatever it is called.
                return Ok(Some(range.as_singleton().cloned().unwrap_or_else(|| Version::new(""))));
            }
            (_, Kind::Collection) => {
                let fetched = locked(&self.fetched);
                let known = fetched.iter().find(|((p, _), _)| p == package).map(|(_, f)| f.version.clone());
                return Ok(known.filter(|v| !v.is_number() || range.contains(v)));
            }
        }
        if let Some(only) = range.as_singleton()
            && (*kind == Kind::Role || !only.is_number())
        {
            return Ok(Some(only.clone()));
        }
        let failed = |e: Error| e.about(format!("the versions of {package} could not be listed"));
        let versions = self.fetcher.versions(&source, *kind).map_err(failed)?;
        let released = versions.iter().any(|v| !v.is_pre_release());
        let pinned = range.as_singleton();
        let fits = |v: &&Version| {
            range.contains(v)
                && (!v.is_pre_release() || self.fetcher.pre_releases || !released || pinned.is_some())
        };
        let best = versions.iter().rev().find(fits).cloned();
        if best.is_none() && any && *kind == Kind::Role {
            // A role without versions is its default branch.
            return Ok(Some(Version::new("")));
        }
        Ok(best)
    }

    fn needs(&self, package: &Package, version: &Version) -> Result<Vec<Need>> {
        let key = (package.clone(), version.text().to_owned());
        if let Some(known) = locked(&self.needs).get(&key) {
            return Ok(known.clone());
        }
        let needs = match self.kept_needs(package, version) {
            Some(needs) => needs,
            None => self.looked_up(package, version)?,
        };
        locked(&self.needs).insert(key, needs.clone());
        Ok(needs)
    }
}

/// A version of everything that is wanted and of what that needs.
///
/// # Errors
/// What cannot be had, roles that need each other in a circle, and versions that do not fit together.
pub fn resolve(
    wanted: &[Requirement],
    fetcher: &Fetcher,
    preferences: &Preferences,
    reporter: &dyn Reporter,
) -> Result<Vec<Resolved>> {
    let mut graph = Graph {
        fetcher,
        preferences,
        reporter,
        sources: Mutex::default(),
        asked: HashMap::new(),
        fetched: Mutex::default(),
        needs: Mutex::default(),
        warned: Mutex::default(),
    };
    let left_out = |requirement: &Requirement, error: Error| -> Result<()> {
        if !preferences.ignore_errors {
            return Err(requirement.error(error.to_string()));
        }
        reporter.warn(&format!("the {} {requirement} is left out: {error}", requirement.kind));
        Ok(())
    };
    let mut roots: Vec<Requirement> = Vec::new();
    for (requirement, parts) in wanted.iter().zip(side_by_side(wanted, |r| graph.named(r))) {
        match parts {
            Ok(parts) => roots.extend(parts),
            Err(error) => left_out(requirement, error)?,
        }
    }
    check_twice(&roots)?;
    graph.asked = roots.iter().map(|r| (package(r), r.wanted.clone())).collect();
    // What the project names comes from where the project says.
    *locked(&graph.sources) = roots.iter().map(|r| (package(r), r.source.clone())).collect();
    // Each root by itself first, so that a failure is told where it is written.
    let alone = side_by_side(&roots, |root| match graph.choose(&package(root), &range(root))? {
        Some(version) => graph.needs(&package(root), &version).map(|_| ()),
        None => Ok(()),
    });
    let mut kept = Vec::new();
    for (root, result) in roots.into_iter().zip(alone) {
        match result {
            Ok(()) => kept.push(root),
            Err(error) => left_out(&root, error)?,
        }
    }
    let roots = kept;
    graph.read_ahead(&roots)?;
    let needs: Vec<Need> = roots.iter().map(|r| (package(r), range(r))).collect();
    let solution = resolve::solve(&needs, &graph)?;
    check_circles(&solution, &graph)?;
    let signatures: HashMap<Package, Vec<String>> =
        roots.iter().map(|r| (package(r), r.signatures.clone())).collect();
    // Archives of collections were not needed until now.
    let resolved = side_by_side(&solution, |(package, version)| -> Result<Resolved> {
        let Package::Named(kind, name) = package else {
            return Err(Error::new("the project is not installed"));
        };
        let wanted = graph.asked.get(package).map(|w| w.text().to_owned());
        let signatures = signatures.get(package).cloned().unwrap_or_default();
        if let Some(pin) = graph.kept(package).filter(|pin| pin.version == version.text()) {
            let pin = Pin { wanted, ..pin.clone() };
            return Ok(Resolved { pin, fetched: None, signatures });
        }
        let fetched = graph.fetch(package, version)?;
        let mut needs: Vec<String> =
            graph.needs(package, version)?.into_iter().filter_map(|(p, _)| key_of(&p)).collect();
        needs.sort();
        needs.dedup();
        let pin = Pin {
            kind: *kind,
            name: name.clone(),
            source: graph.source(package)?,
            wanted,
            version: fetched.version.text().to_owned(),
            commit: fetched.commit.clone(),
            artifact: fetched.artifact.clone(),
            digest: fetched.digest.clone(),
            needs,
        };
        Ok(Resolved { pin, fetched: Some(fetched), signatures })
    });
    resolved.into_iter().collect()
}

fn key_of(package: &Package) -> Option<String> {
    match package {
        Package::Named(kind, name) => Some(format!("{kind} {name}")),
        Package::Project => None,
    }
}

/// One name, two versions or two places.
fn check_twice(roots: &[Requirement]) -> Result<()> {
    let mut seen: BTreeMap<(Kind, &str), &Requirement> = BTreeMap::new();
    for root in roots {
        let Some(first) = seen.insert((root.kind, &root.name), root) else { continue };
        if first.wanted != root.wanted || first.source != root.source {
            return Err(root.error(format!(
                "the {} {} is wanted twice: at `{}` from {}, and at `{}` from {}",
                root.kind, root.name, first.wanted, first.source, root.wanted, root.source
            )));
        }
    }
    Ok(())
}

/// Roles that need each other in a circle never end when they run.
fn check_circles(solution: &[(Package, Version)], graph: &Graph<'_>) -> Result<()> {
    let mut needs: BTreeMap<&Package, Vec<Package>> = BTreeMap::new();
    for (package, version) in solution {
        if matches!(package, Package::Named(Kind::Role, _)) {
            let needed = graph.needs(package, version)?.into_iter().map(|(p, _)| p);
            needs.insert(package, needed.filter(|p| matches!(p, Package::Named(Kind::Role, _))).collect());
        }
    }
    let mut done: HashSet<&Package> = HashSet::new();
    for start in needs.keys() {
        let mut path: Vec<(&Package, usize)> = vec![(start, 0)];
        while let Some((package, at)) = path.last_mut() {
            let Some((next, _)) =
                needs.get(*package).and_then(|n| n.get(*at)).and_then(|n| needs.get_key_value(n))
            else {
                done.insert(package);
                path.pop();
                continue;
            };
            *at += 1;
            if let Some(begin) = path.iter().position(|(p, _)| p == next) {
                let mut circle: Vec<String> = path[begin..].iter().map(|(p, _)| p.to_string()).collect();
                circle.push(next.to_string());
                return Err(Error::new(format!(
                    "roles need each other in a circle: {}",
                    circle.join(" -> ")
                )));
            }
            if !done.contains(next) {
                path.push((next, 0));
            }
        }
    }
    Ok(())
}

/// What a resolution keeps of a lock: everything but what is to move on.
pub fn kept_of(lock: Option<&LockFile>, upgraded: impl Fn(&Pin) -> bool) -> Vec<Pin> {
    lock.map(|l| l.pins.iter().filter(|p| !upgraded(p)).cloned().collect()).unwrap_or_default()
}
