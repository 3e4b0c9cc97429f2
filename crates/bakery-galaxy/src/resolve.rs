//! Which version of everything: a pure function over an index. The PubGrub algorithm finds an answer if there is one,
//! and else tells why there is none.

use std::cell::RefCell;
use std::fmt;

use pubgrub::{
    DefaultStringReporter, Dependencies, DependencyProvider, PackageResolutionStatistics, PubGrubError,
    Ranges, Reporter as _,
};

use crate::requirements::Kind;
use crate::version::Version;
use crate::{Error, Result};

/// What has versions.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Package {
    /// The project that asks.
    Project,
    /// A role or collection by its name.
    Named(Kind, String),
}

impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project => f.write_str("the project"),
            Self::Named(kind, name) => write!(f, "the {kind} {name}"),
        }
    }
}

/// A package and the versions of it that will do.
pub type Need = (Package, Ranges<Version>);

/// What is known of packages.
pub trait Index {
    /// The version to take of a package among those that will do; `None` if there is none.
    ///
    /// # Errors
    /// What cannot be found out.
    fn choose(&self, package: &Package, range: &Ranges<Version>) -> Result<Option<Version>>;

    /// What a version needs.
    ///
    /// # Errors
    /// What cannot be found out.
    fn needs(&self, package: &Package, version: &Version) -> Result<Vec<Need>>;
}

/// An error on its way through the solver, which wants errors of another shape.
#[derive(Debug)]
struct Carried(RefCell<Option<Error>>);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the index failed")
    }
}

impl std::error::Error for Carried {}

fn carried(error: Error) -> Carried {
    Carried(RefCell::new(Some(error)))
}

struct Provider<'a> {
    index: &'a dyn Index,
    roots: &'a [Need],
}

impl DependencyProvider for Provider<'_> {
    type P = Package;
    type V = Version;
    type VS = Ranges<Version>;
    type Priority = (u32, bool);
    type M = String;
    type Err = Carried;

    fn prioritize(
        &self,
        _: &Package,
        range: &Ranges<Version>,
        seen: &PackageResolutionStatistics,
    ) -> (u32, bool) {
        // What was in the way before is decided first, and what is pinned before what is not.
        (seen.conflict_count(), range.as_singleton().is_some())
    }

    fn choose_version(
        &self,
        package: &Package,
        range: &Ranges<Version>,
    ) -> std::result::Result<Option<Version>, Carried> {
        match package {
            Package::Project => Ok(Some(Version::new("0"))),
            Package::Named(..) => self.index.choose(package, range).map_err(carried),
        }
    }

    fn get_dependencies(
        &self,
        package: &Package,
        version: &Version,
    ) -> std::result::Result<Dependencies<Package, Ranges<Version>, String>, Carried> {
        let needs = match package {
            Package::Project => self.roots.to_vec(),
            Package::Named(..) => self.index.needs(package, version).map_err(carried)?,
        };
        let mut all: pubgrub::DependencyConstraints<Package, Ranges<Version>> = Default::default();
        for (needed, range) in needs {
            if needed == *package {
                continue;
            }
            let both = all
                .get(&needed)
                .map_or_else(|| range.clone(), |known: &Ranges<Version>| known.intersection(&range));
            all.insert(needed, both);
        }
        Ok(Dependencies::Available(all))
    }
}

/// A version of everything that the needs lead to.
///
/// # Errors
/// What the index says; and when nothing fits, why, in sentences.
pub fn solve(roots: &[Need], index: &dyn Index) -> Result<Vec<(Package, Version)>> {
    let provider = Provider { index, roots };
    let solution = match pubgrub::resolve(&provider, Package::Project, Version::new("0")) {
        Ok(solution) => solution,
        Err(PubGrubError::NoSolution(mut tree)) => {
            tree.collapse_no_versions();
            let told = DefaultStringReporter::report(&tree);
            return Err(Error::new(format!("no versions fit together.\n{}", plain(&told))));
        }
        Err(
            PubGrubError::ErrorRetrievingDependencies { source, .. }
            | PubGrubError::ErrorChoosingVersion { source, .. }
            | PubGrubError::ErrorInShouldCancel(source),
        ) => {
            return Err(source.0.take().unwrap_or_else(|| Error::new("the index failed")));
        }
    };
    let mut all: Vec<(Package, Version)> =
        solution.into_iter().filter(|(package, _)| *package != Package::Project).collect();
    all.sort();
    Ok(all)
}

/// The solver's story in our words: the project has no version, and any version is just the name.
fn plain(told: &str) -> String {
    let mut text = told.replace("the project 0", "the project").replace(" ∗", "").replace(" * ", " ");
    if let Some(head) = text.get(..1) {
        text = format!("{}{}", head.to_uppercase(), &text[1..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::version::Wanted;

    type Needs = Vec<(String, String)>;

    /// Names, their versions and what each needs.
    #[derive(Default)]
    struct Known(BTreeMap<String, BTreeMap<u64, Needs>>);

    fn need(name: &str, wanted: &str) -> Need {
        let range = Wanted::parse(wanted).expect("valid").range();
        (Package::Named(Kind::Collection, name.to_owned()), range)
    }

    impl Index for Known {
        fn choose(&self, package: &Package, range: &Ranges<Version>) -> Result<Option<Version>> {
            let Package::Named(_, name) = package else { return Ok(None) };
            let versions = self.0.get(name).into_iter().flat_map(BTreeMap::keys).rev();
            Ok(versions.map(|v| Version::new(format!("{v}.0.0"))).find(|v| range.contains(v)))
        }

        fn needs(&self, package: &Package, version: &Version) -> Result<Vec<Need>> {
            let Package::Named(_, name) = package else { return Ok(vec![]) };
            let major: u64 = version.text().split('.').next().and_then(|v| v.parse().ok()).expect("a number");
            Ok(self.0[name][&major].iter().map(|(name, wanted)| need(name, wanted)).collect())
        }
    }

    impl Known {
        fn add(&mut self, name: &str, version: u64, needs: &[(&str, &str)]) {
            let needs = needs.iter().map(|(n, w)| ((*n).to_owned(), (*w).to_owned())).collect();
            self.0.entry(name.to_owned()).or_default().insert(version, needs);
        }
    }

    #[test]
    fn a_conflict_is_told_as_a_story() {
        let mut known = Known::default();
        known.add("a.web", 1, &[("a.lib", ">=2,<3")]);
        known.add("a.db", 1, &[("a.lib", "<2")]);
        for version in 1..4 {
            known.add("a.lib", version, &[]);
        }
        let told =
            solve(&[need("a.web", "*"), need("a.db", "*")], &known).expect_err("they differ").to_string();
        for words in ["a.web", "a.db", "a.lib", "depends on", "Because", "the project"] {
            assert!(told.contains(words), "{words} in {told}");
        }
        let found = solve(&[need("a.web", "*"), need("a.lib", "*")], &known).expect("fits");
        assert!(
            found.iter().any(|(p, v)| p.to_string().ends_with("a.lib") && v.text() == "2.0.0"),
            "{found:?}"
        );
    }

    /// Every choice of versions, until one fits.
    fn by_trying_all(known: &Known, roots: &[Need]) -> bool {
        let names: Vec<&String> = known.0.keys().collect();
        let counts: Vec<usize> = names.iter().map(|n| known.0[*n].len() + 1).collect();
        let total: usize = counts.iter().product();
        (0..total).any(|mut number| {
            let mut chosen: BTreeMap<&str, u64> = BTreeMap::new();
            for (name, count) in names.iter().zip(&counts) {
                let pick = number % count;
                number /= count;
                if pick > 0 {
                    chosen.insert(name, *known.0[*name].keys().nth(pick - 1).expect("is there"));
                }
            }
            let fits = |(package, range): &Need| {
                let Package::Named(_, name) = package else { return true };
                chosen.get(name.as_str()).is_some_and(|v| range.contains(&Version::new(format!("{v}.0.0"))))
            };
            roots.iter().all(fits)
                && chosen.iter().all(|(name, version)| {
                    known.0[*name][version].iter().all(|(needed, wanted)| fits(&need(needed, wanted)))
                })
        })
    }

    #[test]
    fn an_answer_is_found_when_there_is_one_and_it_fits() {
        let mut seed = 0x2545_F491_4F6C_DD1Du64;
        let mut next = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut solved = 0;
        for _ in 0..400 {
            let mut known = Known::default();
            for name in 0..4 {
                for version in 1..=3 {
                    let needs: Vec<(String, String)> = (0..=next(2))
                        .map(|_| {
                            let conditions = ["3.0.0", ">=2.0.0", "<2.0.0", "1.0.0", "!=2.0.0"];
                            (format!("n.c{}", next(4)), conditions[next(5) as usize].to_owned())
                        })
                        .filter(|(needed, _)| *needed != format!("n.c{name}"))
                        .collect();
                    let needs: Vec<(&str, &str)> =
                        needs.iter().map(|(n, w)| (n.as_str(), w.as_str())).collect();
                    known.add(&format!("n.c{name}"), version, &needs);
                }
            }
            let roots = [need("n.c0", "*"), need(&format!("n.c{}", next(4)), ">=2.0.0")];
            let expected = by_trying_all(&known, &roots);
            match solve(&roots, &known) {
                Ok(found) => {
                    solved += 1;
                    assert!(expected);
                    let chosen: BTreeMap<String, Version> =
                        found.iter().map(|(p, v)| (p.to_string(), v.clone())).collect();
                    for (package, version) in &found {
                        for (needed, range) in known.needs(package, version).expect("known") {
                            assert!(
                                range.contains(&chosen[&needed.to_string()]),
                                "{package} {version}: {needed}"
                            );
                        }
                    }
                }
                Err(error) => assert!(!expected, "{error}"),
            }
        }
        assert!(solved > 50 && solved < 400, "{solved}");
    }
}
