//! What is at a source: its versions, and its files at one of them, from the cache where they are known.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bakery_host::fs;
use bakery_lang::{Source as Text, yaml};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::api::{RoleAbout, Server};
use crate::cache::Cache;
use crate::http::{Client, shown};
use crate::requirements::{self, Kind, Requirement, Source};
use crate::scm;
use crate::tree::{Tree, sha256};
use crate::version::Version;
use crate::{Error, Result, collection};

/// The files of a role or collection, and where exactly they came from.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The files as they are installed, without records.
    pub tree: Arc<Tree>,
    /// Their digest.
    pub digest: String,
    /// The name that a collection's files tell; for a role nothing.
    pub name: String,
    /// Its version: a tag, branch or commit as asked for, or a number.
    pub version: Version,
    /// The commit, for repositories.
    pub commit: Option<String>,
    /// The SHA-256 of the archive, for those that are downloaded.
    pub artifact: Option<String>,
    /// What it needs.
    pub dependencies: Vec<Requirement>,
    /// What a server knows of it.
    pub listed: Option<Listed>,
}

/// What a Galaxy server knows of a collection's version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// The server's address.
    pub server: String,
    /// Where the archive is.
    pub download: String,
    /// The page of the version.
    pub page: String,
    /// Signatures of its manifest, and all that the server says of each.
    pub signatures: Vec<Json>,
}

/// Where to ask, and where to keep what was answered.
#[derive(Debug)]
pub struct Fetcher {
    /// The cache.
    pub cache: Cache,
    /// How repositories are reached.
    pub scm: scm::Options,
    /// Whether versions before a release will do.
    pub pre_releases: bool,
    /// Whether only this machine is asked.
    pub offline: bool,
    client: Client,
    servers: Vec<Server>,
    roles: Mutex<HashMap<String, Option<(usize, RoleAbout)>>>,
    collections: Mutex<HashMap<Source, Vec<(Version, usize)>>>,
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Fetcher {
    /// A fetcher that asks these servers, the first first.
    pub fn new(cache: Cache, client: Client, servers: Vec<Server>) -> Self {
        Self {
            cache,
            scm: scm::Options::default(),
            pre_releases: false,
            offline: false,
            client,
            servers,
            roles: Mutex::default(),
            collections: Mutex::default(),
        }
    }

    fn network(&self, source: &Source) -> Result<()> {
        if self.offline {
            return Err(Error::new(format!("{source} is not in the cache, and --offline asks nobody else")));
        }
        Ok(())
    }

    /// The versions at a source that are numbers, with the newest last.
    ///
    /// # Errors
    /// What the source says.
    pub fn versions(&self, source: &Source, kind: Kind) -> Result<Vec<Version>> {
        let mut versions = match (source, kind) {
            (Source::Git(url, _), _) => {
                self.network(source)?;
                scm::versions(url, self.scm)?
            }
            (Source::Galaxy(name, _), Kind::Role) => {
                let found = self.role_about(name)?;
                found
                    .1
                    .versions
                    .iter()
                    .map(|(name, _)| Version::new(name))
                    .filter(Version::is_number)
                    .collect()
            }
            (Source::Galaxy(..), Kind::Collection) => {
                self.listed(source)?.into_iter().map(|(version, _)| version).collect()
            }
            _ => vec![],
        };
        versions.sort();
        Ok(versions)
    }

    /// A role that a server knows.
    fn role_about(&self, name: &str) -> Result<(usize, RoleAbout)> {
        if let Some(known) = locked(&self.roles).get(name) {
            return known.clone().ok_or_else(|| self.unknown(name, "role"));
        }
        self.network(&Source::Galaxy(name.to_owned(), None))?;
        // The first server that has roles at all is the one that is asked (`RoleDistributionServer`).
        let at = self.servers.iter().position(Server::has_roles).unwrap_or(0);
        let server = self.servers.get(at).ok_or_else(|| Error::new("no Galaxy server is configured"))?;
        let found = server.role(name)?.map(|about| (at, about));
        locked(&self.roles).insert(name.to_owned(), found.clone());
        found.ok_or_else(|| self.unknown(name, "role"))
    }

    fn unknown(&self, name: &str, what: &str) -> Error {
        let servers: Vec<String> = self.servers.iter().map(|s| shown(s.url())).collect();
        Error::new(format!("there is no {what} `{name}` on {}", servers.join(", ")))
    }

    /// A collection's versions, and which server has each.
    fn listed(&self, source: &Source) -> Result<Vec<(Version, usize)>> {
        if let Some(known) = locked(&self.collections).get(source) {
            return Ok(known.clone());
        }
        self.network(source)?;
        let Source::Galaxy(name, demanded) = source else { return Ok(vec![]) };
        let (mut all, mut failures): (Vec<(Version, usize)>, Vec<String>) = Default::default();
        let mut asked = false;
        for (at, server) in self.servers.iter().enumerate() {
            let meant = demanded.as_ref().is_none_or(|d| {
                *d == server.name || d.trim_end_matches('/') == server.url().trim_end_matches('/')
            });
            if !meant {
                continue;
            }
            asked = true;
            match server.collection_versions(name) {
                Ok(versions) => {
                    for version in versions {
                        let version = Version::new(version);
                        if version.is_number() && !all.iter().any(|(known, _)| known.text() == version.text())
                        {
                            all.push((version, at));
                        }
                    }
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        if !asked {
            return Err(Error::new(format!(
                "the server {} is not configured",
                shown(demanded.as_deref().unwrap_or_default())
            )));
        }
        if all.is_empty() {
            return Err(if failures.is_empty() {
                self.unknown(name, "collection")
            } else {
                Error::new(failures.join("; "))
            });
        }
        locked(&self.collections).insert(source.clone(), all.clone());
        Ok(all)
    }

    /// Adds a server that a requirement names by its URL.
    pub fn add_server(&mut self, url: &str, login: crate::api::Login) {
        let known = self
            .servers
            .iter()
            .any(|s| s.name == url || s.url().trim_end_matches('/') == url.trim_end_matches('/'));
        if !known && url.contains("://") {
            self.servers.push(Server::new(url, url, login, self.client.clone()));
        }
    }

    /// What a collection's version on a server needs, without its files.
    ///
    /// # Errors
    /// What the server says.
    pub fn listed_dependencies(&self, source: &Source, version: &Version) -> Result<Vec<Requirement>> {
        let (_, about) = self.about(source, version)?;
        requirements::collection_dependencies(&about.dependencies)
    }

    fn about(&self, source: &Source, version: &Version) -> Result<(&Server, crate::api::CollectionAbout)> {
        let Source::Galaxy(name, _) = source else { return Err(Error::new("no name on a server")) };
        let listed = self.listed(source)?;
        let at = listed.iter().find(|(known, _)| known.text() == version.text());
        let at = at.or_else(|| listed.iter().find(|(known, _)| known == version)).map_or(0, |(_, at)| *at);
        let server = self.servers.get(at).ok_or_else(|| Error::new("no Galaxy server is configured"))?;
        Ok((server, server.collection(name, version.text())?))
    }

    /// The files at a source.
    ///
    /// # Errors
    /// What the source says, and files that are none of a role or collection.
    pub fn fetch(&self, kind: Kind, source: &Source, version: &Version) -> Result<Fetched> {
        match kind {
            Kind::Role => self.role(source, version),
            Kind::Collection => self.collection(source, version),
        }
    }

    fn role(&self, source: &Source, version: &Version) -> Result<Fetched> {
        let (mut version, mut commit, mut artifact) = (version.clone(), None, None);
        let tree = match source {
            Source::Git(url, _) => {
                let taken = self.repository(url, &version)?;
                commit = Some(taken.commit);
                taken.tree
            }
            Source::Hg(url) => {
                self.network(source)?;
                let taken = scm::checkout_hg(url, version.text(), self.scm)?;
                commit = Some(taken.commit);
                taken.tree
            }
            Source::Url(url) => {
                self.network(source)?;
                let bytes = self.client.get(url, &[])?;
                artifact = Some(sha256(&bytes));
                Tree::from_archive(&bytes)?.0
            }
            Source::File(path) => {
                let bytes = fs::read(path)?;
                artifact = Some(sha256(&bytes));
                Tree::from_archive(&bytes)?.0
            }
            Source::Folder(path) => {
                if !path.is_dir() {
                    return Err(Error::new(format!("there is no folder {}", path.display())));
                }
                Tree::from_folder(path)?
            }
            Source::Galaxy(name, _) => {
                let (at, about) = self.role_about(name)?;
                let found = about.versions.iter().find(|(known, _)| known == version.text());
                let (taken, url) = match found {
                    Some(found) => found.clone(),
                    None if version.text().is_empty() => newest(&about),
                    None if version.text() == "master" || about.versions.is_empty() => {
                        (version.text().to_owned(), about.default.1.replace(&about.default.0, version.text()))
                    }
                    None => {
                        let known: Vec<&str> = about.versions.iter().map(|(v, _)| v.as_str()).collect();
                        return Err(Error::new(format!(
                            "{name} has no version {version}; it has {}",
                            known.join(", ")
                        )));
                    }
                };
                version = Version::new(taken);
                let bytes = self.servers[at].download(&url)?;
                artifact = Some(sha256(&bytes));
                Tree::from_archive(&bytes)?.0
            }
        };
        let tree = role_of(tree)?;
        let dependencies = role_dependencies(&tree)?;
        let digest = self.cache.keep(&tree)?;
        Ok(Fetched {
            tree: Arc::new(tree),
            digest,
            name: String::new(),
            version,
            commit,
            artifact,
            dependencies,
            listed: None,
        })
    }

    /// A repository's files, from the cache if the commit is known.
    fn repository(&self, url: &str, version: &Version) -> Result<scm::Checkout> {
        let local = Path::new(url.strip_prefix("file://").unwrap_or(url)).is_absolute();
        if !local {
            self.network(&Source::Git(url.to_owned(), String::new()))?;
            let (place, lock) = self.cache.repository(url)?;
            drop(lock);
            // Only a repository that was seen before can have what its names lead to now.
            if place.join("HEAD").is_file() && !self.scm.keep_meta {
                let name = if version.text().is_empty() { "HEAD" } else { version.text() };
                let found = scm::refs(url, self.scm)?.into_iter().find(|known| known.name == name);
                let commit = found.map_or_else(|| name.to_owned(), |found| found.commit);
                if let Some(tree) =
                    self.cache.made_of(&format!("{url}#{commit}")).and_then(|d| self.cache.tree(&d))
                {
                    return Ok(scm::Checkout { tree, commit });
                }
            }
        }
        let taken = scm::checkout(url, version.text(), &self.cache, self.scm)?;
        if !local && !self.scm.keep_meta {
            let digest = self.cache.keep(&taken.tree)?;
            self.cache.remember(&format!("{url}#{}", taken.commit), &digest)?;
        }
        Ok(taken)
    }

    fn collection(&self, source: &Source, version: &Version) -> Result<Fetched> {
        let (mut commit, mut artifact, mut listed) = (None, None, None);
        let archive = |bytes: Vec<u8>| -> Result<(String, Tree)> {
            let sum = sha256(&bytes);
            let tree = Tree::from_archive(&bytes)?.0;
            Ok((sum, collection::from_artifact(tree)?))
        };
        let tree = match source {
            Source::Git(url, folder) => {
                let taken = self.repository(url, version)?;
                commit = Some(taken.commit);
                collection::built(taken.tree.below(folder))?
            }
            Source::Hg(_) => return Err(Error::new("collections do not come from Mercurial")),
            Source::Url(url) => {
                self.network(source)?;
                let (sum, tree) = archive(self.client.get(url, &[])?)?;
                artifact = Some(sum);
                tree
            }
            Source::File(path) => {
                let (sum, tree) = archive(fs::read(path)?)?;
                artifact = Some(sum);
                tree
            }
            Source::Folder(path) => {
                if !path.is_dir() {
                    return Err(Error::new(format!("there is no folder {}", path.display())));
                }
                collection::built(Tree::from_folder(path)?)?
            }
            Source::Galaxy(name, _) => {
                let (server, about) = self.about(source, version)?;
                let known =
                    self.cache.made_of(&format!("sha256:{}", about.sha256)).and_then(|d| self.cache.tree(&d));
                let tree = if let Some(tree) = known {
                    tree
                } else {
                    let (sum, tree) = archive(server.download(&about.download)?)?;
                    if sum != about.sha256 {
                        return Err(Error::new(format!(
                            "the archive of {name} {version} has the checksum {sum}, and {} says {}",
                            server.name, about.sha256
                        )));
                    }
                    let digest = self.cache.keep(&tree)?;
                    self.cache.remember(&format!("sha256:{sum}"), &digest)?;
                    tree
                };
                artifact = Some(about.sha256);
                let told = Listed {
                    server: server.url().to_owned(),
                    download: about.download,
                    page: about.page,
                    signatures: about.signatures,
                };
                let text = serde_json::to_string(&told).unwrap_or_default();
                self.cache.remember(&listed_key(artifact.as_deref().unwrap_or_default()), &text)?;
                listed = Some(told);
                tree
            }
        };
        let about = collection::about(&tree)?;
        let digest = self.cache.keep(&tree)?;
        Ok(Fetched {
            tree: Arc::new(tree),
            digest,
            name: about.name,
            version: Version::new(about.version),
            commit,
            artifact,
            dependencies: requirements::collection_dependencies(&about.dependencies)?,
            listed,
        })
    }

    /// What a server said of an archive when it was fetched.
    pub fn remembered(&self, artifact: &str) -> Option<Listed> {
        serde_json::from_str(&self.cache.made_of(&listed_key(artifact))?).ok()
    }

    /// The collections that a source holds when it holds several: a folder of them, or a repository.
    ///
    /// # Errors
    /// What the source says.
    pub fn split(&self, requirement: &Requirement) -> Result<Vec<Requirement>> {
        let part = |source: Source| Requirement { source, name: String::new(), ..requirement.clone() };
        match &requirement.source {
            Source::Folder(path) if path.is_dir() => {
                let is = |p: &Path| p.join("galaxy.yml").is_file() || p.join(collection::MANIFEST).is_file();
                if is(path) {
                    return Ok(vec![requirement.clone()]);
                }
                let inner: Vec<PathBuf> = fs::read_dir(path)?.into_iter().filter(|p| is(p)).collect();
                Ok(inner.into_iter().map(|p| part(Source::Folder(p))).collect())
            }
            Source::Git(url, folder) => {
                let wanted = requirement.wanted.exact().cloned().unwrap_or_else(|| Version::new(""));
                let tree = self.repository(url, &wanted)?.tree.below(folder);
                let folders = collection::folders(&tree);
                let at = |inner: String| {
                    [folder.as_str(), &inner]
                        .into_iter()
                        .filter(|p| !p.is_empty())
                        .collect::<Vec<_>>()
                        .join("/")
                };
                Ok(folders.into_iter().map(|f| part(Source::Git(url.clone(), at(f)))).collect())
            }
            _ => Ok(vec![requirement.clone()]),
        }
    }

    /// An archive of a collection as its server keeps it, with its file name.
    ///
    /// # Errors
    /// What the server says; `None` for sources that have no archive.
    pub fn archive(&self, source: &Source, version: &Version) -> Result<Option<(String, Vec<u8>)>> {
        let last = |url: &str| url.rsplit('/').next().unwrap_or(url).to_owned();
        Ok(match source {
            Source::Galaxy(..) => {
                let (server, about) = self.about(source, version)?;
                let bytes = server.download(&about.download)?;
                if sha256(&bytes) != about.sha256 {
                    return Err(Error::new(format!(
                        "the archive of {source} has another checksum than {} says",
                        server.name
                    )));
                }
                Some((last(&about.download), bytes))
            }
            Source::Url(url) => Some((last(url), self.client.get(url, &[])?)),
            Source::File(path) => {
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                Some((name, fs::read(path)?))
            }
            _ => None,
        })
    }

    /// The text behind a path or URL, for signatures.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn text(&self, at: &str) -> Result<String> {
        if at.starts_with("http://") || at.starts_with("https://") {
            return Ok(String::from_utf8_lossy(&self.client.get(at, &[])?).into_owned());
        }
        Ok(fs::read_to_string(at.strip_prefix("file://").unwrap_or(at))?)
    }
}

fn listed_key(artifact: &str) -> String {
    format!("listed:{artifact}")
}

/// The newest version of a role, or its default branch if it has none.
fn newest(about: &RoleAbout) -> (String, String) {
    let best = about.versions.iter().max_by_key(|(name, _)| Version::new(name));
    best.cloned().unwrap_or_else(|| about.default.clone())
}

/// The role in an archive: what lies around the shortest path with a `meta/main.yml`, as ansible-galaxy takes it, else
/// the archive's only folder, or all of it.
fn role_of(tree: Tree) -> Result<Tree> {
    let metas = ["meta/main.yml", "meta/main.yaml"];
    let around = tree.entries().filter_map(|(path, _)| {
        let folder = metas.iter().find_map(|m| path.strip_suffix(m))?;
        (folder.is_empty() || folder.ends_with('/')).then(|| folder.trim_end_matches('/').to_owned())
    });
    let root = around.min_by_key(String::len);
    let root = root.unwrap_or_else(|| match tree.top().as_slice() {
        [only] if tree.bytes(only).is_none() && *only != "tasks" => (*only).to_owned(),
        _ => String::new(),
    });
    let tree = tree.below(&root);
    let parts = ["tasks", "meta", "defaults", "handlers", "vars", "templates", "files", "library"];
    if !tree.top().iter().any(|name| parts.contains(name)) {
        return Err(Error::new(
            "it does not look like a role: it has neither meta nor tasks nor anything else of one",
        ));
    }
    tree.check_links()?;
    Ok(tree)
}

/// The roles that a role names in its `meta/` and that come from elsewhere.
fn role_dependencies(tree: &Tree) -> Result<Vec<Requirement>> {
    let mut found = Vec::new();
    let read = |names: &[&str]| -> Result<Option<yaml::Node>> {
        let Some((name, text)) = tree.text(names) else { return Ok(None) };
        Ok(Some(yaml::parse(&Text::new(name, text))?))
    };
    let main = read(&["meta/main.yml", "meta/main.yaml"])?;
    let named = main.as_ref().and_then(|main| main.get("dependencies")).cloned();
    let more = read(&["meta/requirements.yml", "meta/requirements.yaml"])?;
    for list in [named, more].into_iter().flatten().filter(|l| !l.is_none()) {
        let items = list.as_list().ok_or_else(|| {
            Error::from(bakery_lang::Diagnostic::at(
                &list.origin,
                format!("dependencies must be a list, found {}", list.kind_name()),
            ))
        })?;
        for item in items {
            let role = requirements::role(item, Path::new("/"))?;
            // A name without a dot is a role of the project itself.
            let own = matches!(&role.source, Source::Galaxy(name, _) if !name.contains('.'))
                && !role.name.contains('.');
            if !own {
                found.push(role);
            }
        }
    }
    Ok(found)
}

/// Runs a piece of work for each item, several at a time, and keeps their order.
pub fn side_by_side<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    const MOST: usize = 8;
    if items.len() < 2 {
        return items.iter().map(work).collect();
    }
    let (next, results) = (std::sync::atomic::AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    // The kernel ends a child with the thread that started it: each one is waited for by its own thread.
    std::thread::scope(|scope| {
        for _ in 0..items.len().min(MOST) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    locked(&results).insert(at, result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).into_values().collect()
}
