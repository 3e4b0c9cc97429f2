//! `git`: a repository's files at a version (`ansible/modules/git.py`).

use std::path::{Path, PathBuf};

use bakery_host::{Output, fs};
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Clones a repository, or brings a clone to a version.
#[derive(ModuleArgs)]
struct Args {
    /// The repository's address.
    #[arg(required, alias = "name")]
    repo: String,
    /// Where to.
    dest: Option<String>,
    /// A branch, tag or commit.
    #[arg(default = "HEAD")]
    version: String,
    /// What the clone calls the repository.
    #[arg(default = "origin")]
    remote: String,
    /// What else is fetched.
    refspec: Option<String>,
    /// A local repository whose objects are shared.
    reference: Option<String>,
    /// Whether local changes are thrown away.
    force: bool,
    /// How many commits of the history come.
    depth: Option<i64>,
    /// Whether a missing clone is made.
    #[arg(default = "true")]
    clone: bool,
    /// Whether a clone that is there is brought up to date.
    #[arg(default = "true")]
    update: bool,
    /// Whether the commit's signature must be good.
    verify_commit: bool,
    /// Whose signatures are good; all that gpg trusts if empty.
    #[arg(alias = "gpg_whitelist")]
    gpg_allowlist: Option<Vec<String>>,
    /// Whether an unknown ssh server is trusted.
    accept_hostkey: bool,
    /// Whether a new ssh server is trusted, and one whose key has changed is not.
    accept_newhostkey: bool,
    /// The ssh key.
    key_file: Option<String>,
    /// Options for ssh.
    ssh_opts: Option<String>,
    /// The git program.
    executable: Option<String>,
    /// Whether there are no files, only the repository.
    bare: bool,
    /// Whether submodules come along.
    #[arg(default = "true")]
    recursive: bool,
    /// Whether only the version's branch comes.
    single_branch: bool,
    /// Whether submodules follow their branch.
    track_submodules: bool,
    /// The umask for what is made, in octal digits.
    umask: Option<Value>,
    /// An archive to make of the version.
    archive: Option<String>,
    /// The folder that stands before paths in the archive.
    archive_prefix: Option<String>,
    /// Where the repository itself is kept.
    separate_git_dir: Option<String>,
}

struct Git<'a> {
    host: &'a Host,
    args: &'a Args,
    repo: String,
    dest: PathBuf,
    /// Where `separate_git_dir` leads to.
    separate: Option<PathBuf>,
    ssh: String,
}

impl Git<'_> {
    /// The folder with the repository itself: a file `.git` tells where else it is.
    fn folder(&self) -> Result<PathBuf, Failure> {
        if self.args.bare {
            return Ok(self.dest.clone());
        }
        let folder = self.dest.join(".git");
        if !folder.is_file() {
            return Ok(folder);
        }
        let text = fs::read_to_string(&folder)?;
        let named = text.trim_end().strip_prefix("gitdir: ").map(|named| self.dest.join(named));
        named.filter(|named| named.is_dir()).ok_or_else(|| {
            let details = format!("{} holds {:?}", folder.display(), text.trim_end());
            let message = "Current repo does not have a valid reference to a separate Git dir or it refers to the \
                invalid path";
            Failure::new(format!("{message}: {details}")).with("details", details)
        })
    }

    /// Moves the repository itself to where it shall be, and leaves a file that tells so; on an error it is where it was.
    fn relocate(&self, folder: &Path, place: &Path) -> Result<(), Failure> {
        if place.exists() {
            return Err(Failure::new(format!("Separate-git-dir path {} already exists.", place.display())));
        }
        // Another file system may be there.
        let moved = |from: &Path, to: &Path| {
            let (from, to) = (from.display().to_string(), to.display().to_string());
            let output = self.host.cmd("mv").args(["-T", "--", &from, &to]).output()?;
            self.check(output, "Unable to move git dir")
        };
        moved(folder, place)?;
        let told = fs::write_atomic(self.dest.join(".git"), format!("gitdir: {}", place.display()));
        if told.is_err() {
            moved(place, folder)?;
        }
        Ok(told?)
    }

    fn at(&self, folder: Option<&Path>, args: &[&str]) -> Result<Output, Failure> {
        let mut command = self.host.cmd(self.args.executable.as_deref().unwrap_or("git"));
        if let Some(umask) = &self.args.umask {
            let umask = umask.to_string();
            command = self.host.cmd("/bin/sh").args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", &umask]);
            command = command.arg(self.args.executable.as_deref().unwrap_or("git"));
        }
        command = command.args(args).env("LC_ALL", "C.UTF-8").env("GIT_TERMINAL_PROMPT", "0");
        command = command.env("GIT_SSH_COMMAND", &self.ssh);
        if let Some(folder) = folder {
            command = command.current_dir(folder);
        }
        Ok(command.timeout(std::time::Duration::from_hours(1)).output()?)
    }

    fn check(&self, output: Output, what: &str) -> Result<String, Failure> {
        if output.success() {
            return Ok(output.text());
        }
        let said = output.error_text();
        Err(Failure::new(format!("{what}: {}", said.trim()))
            .with("rc", output.code)
            .with("stdout", output.text())
            .with("stderr", said))
    }

    /// Runs git in the clone.
    fn run(&self, args: &[&str], what: &str) -> Result<String, Failure> {
        self.check(self.at(Some(&self.dest), args)?, what)
    }

    fn says(&self, args: &[&str]) -> Result<Option<String>, Failure> {
        let output = self.at(Some(&self.dest), args)?;
        Ok(output.success().then(|| output.text().trim().to_owned()).filter(|t| !t.is_empty()))
    }

    fn head(&self) -> Result<Option<String>, Failure> {
        self.says(&["rev-parse", "HEAD"])
    }

    /// The commit that a name leads to on the other side; `None` if there is no such name.
    fn remote_ref(&self, names: &[&str]) -> Result<Option<String>, Failure> {
        let there = self.dest.is_dir().then_some(self.dest.as_path());
        let arguments = [&["ls-remote", "--", &self.repo], names].concat();
        let text = self.check(self.at(there, &arguments)?, "Failed to list remote references")?;
        // The commit behind an annotated tag comes after the tag.
        Ok(text.lines().last().and_then(|l| l.split_whitespace().next()).map(str::to_owned))
    }

    fn is_remote_branch(&self, version: &str) -> Result<bool, Failure> {
        Ok(self.remote_ref(&[&format!("refs/heads/{version}")])?.is_some())
    }

    fn is_remote_tag(&self, version: &str) -> Result<bool, Failure> {
        Ok(self.remote_ref(&[&format!("refs/tags/{version}")])?.is_some())
    }

    /// The commit that the version is on the other side; what looks like a commit is taken for one.
    fn remote_head(&self) -> Result<String, Failure> {
        let version = &self.args.version;
        if version == "HEAD" {
            return self.remote_ref(&["HEAD"])?.ok_or_else(|| "the repository has no HEAD".into());
        }
        if let Some(commit) = self.remote_ref(&[&format!("refs/heads/{version}")])? {
            return Ok(commit);
        }
        let tag = format!("refs/tags/{version}");
        if let Some(commit) = self.remote_ref(&[&tag, &format!("{tag}^{{}}")])? {
            return Ok(commit);
        }
        if version.len() >= 7 && version.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(version.clone());
        }
        Err(Failure::new(format!("Could not determine remote revision for {version}")))
    }

    /// The branch that the other side's HEAD is, as the clone knows it.
    fn head_branch(&self) -> Result<String, Failure> {
        let remote = format!("refs/remotes/{}/HEAD", self.args.remote);
        let known = self.says(&["symbolic-ref", "--short", &remote])?;
        let prefix = format!("{}/", self.args.remote);
        match known {
            Some(name) => Ok(name.strip_prefix(&prefix).unwrap_or(&name).to_owned()),
            None => Ok(self.says(&["rev-parse", "--abbrev-ref", "HEAD"])?.unwrap_or_else(|| "master".into())),
        }
    }

    fn clone(&self) -> Result<(), Failure> {
        let (args, version) = (self.args, self.args.version.as_str());
        if let Some(folder) = self.dest.parent() {
            fs::create_dir_all(folder)?;
        }
        let dest = self.dest.display().to_string();
        let mut command = vec!["clone".to_owned()];
        if args.bare {
            command.push("--bare".into());
        } else {
            command.extend(["--origin".into(), args.remote.clone()]);
        }
        let named = (args.depth.is_some() || args.single_branch)
            && version != "HEAD"
            && (self.is_remote_branch(version)? || self.is_remote_tag(version)?);
        if let Some(depth) = args.depth
            && (version == "HEAD" || args.refspec.is_some() || named)
        {
            command.extend(["--depth".into(), depth.to_string()]);
        }
        if args.single_branch {
            command.push("--single-branch".into());
        }
        if named && (args.refspec.is_none() || args.single_branch) {
            command.extend(["--branch".into(), version.to_owned()]);
        }
        if let Some(reference) = &args.reference {
            command.extend(["--reference".into(), reference.clone()]);
        }
        if let Some(place) = &self.separate {
            command.push(format!("--separate-git-dir={}", place.display()));
        }
        command.extend(["--".into(), self.repo.clone(), dest]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let output = self.at(self.dest.parent(), &command)?;
        self.check(output, "Failed to clone the repository")?;
        if args.bare && args.remote != "origin" {
            self.run(&["remote", "add", &args.remote, &self.repo], "Failed to add the remote")?;
        }
        if let Some(refspec) = &args.refspec {
            let depth = args.depth.map(|d| d.to_string());
            let mut command = vec!["fetch"];
            if let Some(depth) = &depth {
                command.extend(["--depth", depth]);
            }
            command.extend([args.remote.as_str(), refspec]);
            self.run(&command, "Failed to fetch the refspec")?;
        }
        Ok(())
    }

    fn fetch(&self) -> Result<(), Failure> {
        let (args, version) = (self.args, self.args.version.as_str());
        let depth = args.depth.map(|d| d.to_string());
        let mut command: Vec<&str> = vec!["fetch"];
        let mut specs: Vec<String> = Vec::new();
        if let Some(depth) = &depth {
            if let Some(refspec) = &args.refspec {
                specs.push(refspec.clone());
            } else if version == "HEAD" {
                specs.push(self.head_branch()?);
            } else if self.is_remote_branch(version)? {
                if self.head_branch()? != version {
                    specs.push(format!("+refs/heads/{version}:refs/heads/{version}"));
                }
                specs.push(format!("+refs/heads/{version}:refs/remotes/{}/{version}", args.remote));
            } else if self.is_remote_tag(version)? {
                specs.push(format!("+refs/tags/{version}:refs/tags/{version}"));
            }
            if !specs.is_empty() {
                command.extend(["--depth", depth, "--update-head-ok"]);
            }
        }
        if specs.is_empty() {
            if args.bare {
                specs.extend(["+refs/heads/*:refs/heads/*".into(), "+refs/tags/*:refs/tags/*".into()]);
            } else {
                command.push("--tags");
                if self.says(&["rev-parse", "--is-shallow-repository"])?.as_deref() == Some("true") {
                    command.push("--unshallow");
                }
            }
            specs.extend(args.refspec.clone());
        }
        if args.force {
            command.push("--force");
        }
        command.push(&args.remote);
        command.extend(specs.iter().map(String::as_str));
        let what = format!("Failed to download remote objects and refs: {} {}", args.remote, specs.join(" "));
        self.run(&command, what.trim()).map(drop)
    }

    fn switch(&self) -> Result<(), Failure> {
        let (version, remote) = (self.args.version.as_str(), self.args.remote.as_str());
        let force =
            |name: &str| self.run(&["checkout", "--force", name], &format!("Failed to checkout {name}"));
        if version == "HEAD" {
            let branch = self.head_branch()?;
            force(&branch)?;
            self.run(&["reset", "--hard", &format!("{remote}/{branch}"), "--"], "Failed to checkout branch")?;
        } else if self
            .says(&["rev-parse", "--verify", "--quiet", &format!("refs/remotes/{remote}/{version}")])?
            .is_some()
        {
            let there = format!("{remote}/{version}");
            if self.says(&["rev-parse", "--verify", "--quiet", &format!("refs/heads/{version}")])?.is_some() {
                force(version)?;
                self.run(&["reset", "--hard", &there, "--"], &format!("Failed to checkout {version}"))?;
            } else {
                let command = ["checkout", "--track", "-b", version, &there];
                self.run(&command, &format!("Failed to checkout {version}"))?;
            }
        } else {
            force(version)?;
        }
        if self.args.verify_commit {
            let output = self.at(Some(&self.dest), &["verify-commit", "--raw", version])?;
            let output = if output.success() {
                output
            } else {
                self.at(Some(&self.dest), &["verify-tag", "--raw", version])?
            };
            let text = format!("{}{}", output.text(), output.error_text());
            if !output.success() {
                return Err(Failure::new(format!(
                    "Failed to verify GPG signature of commit/tag \"{version}\""
                ))
                .with("stderr", text));
            }
            let allowed = self.args.gpg_allowlist.clone().unwrap_or_default();
            let signer = text.lines().find_map(|l| l.strip_prefix("[GNUPG:] VALIDSIG ")?.split(' ').next());
            if !allowed.is_empty() && !allowed.iter().any(|a| signer.is_some_and(|s| s.ends_with(a.as_str())))
            {
                return Err(Failure::new(format!(
                    "The gpg_allowlist does not include the public key \"{}\" for this commit",
                    signer.unwrap_or_default()
                )));
            }
        }
        Ok(())
    }

    /// The commits of submodules, and whether bringing them up to date changed any.
    fn submodules(&self) -> Result<bool, Failure> {
        if !self.dest.join(".gitmodules").is_file() {
            return Ok(false);
        }
        let status = || self.run(&["submodule", "status", "--recursive"], "Failed to read submodules");
        let before = status()?;
        self.run(&["submodule", "sync"], "Failed to sync submodules")?;
        let mut command = vec!["submodule", "update", "--init", "--recursive"];
        if self.args.track_submodules {
            command.push("--remote");
        }
        if self.args.force {
            command.push("--force");
        }
        self.run(&command, "Failed to init/update submodules")?;
        Ok(before != status()?)
    }

    fn local_changes(&self) -> Result<bool, Failure> {
        if self.args.bare {
            return Ok(false);
        }
        let status = self.run(&["status", "--porcelain"], "Failed to read the status")?;
        Ok(status.lines().any(|l| !l.starts_with("??")))
    }

    /// Makes the archive; whether it is another one than before.
    fn archive(&self, archive: &Path) -> Result<bool, Failure> {
        let name = archive.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let kinds = [(".zip", "zip"), (".tar.gz", "tar.gz"), (".tgz", "tgz"), (".tar", "tar"), (".gz", "gz")];
        let format = kinds.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, format)| *format);
        let format = format.ok_or_else(|| {
            Failure::new("Unable to get file extension from archive file name : use zip, gz, tar or tgz")
        })?;
        let folder = archive.parent().unwrap_or(Path::new("/"));
        let staged = tempfile::tempdir_in(folder).map_err(|e| Failure::new(e.to_string()))?;
        let place = staged.path().join("archive");
        let mut command =
            vec!["archive".to_owned(), format!("--format={format}"), format!("--output={}", place.display())];
        if let Some(prefix) = &self.args.archive_prefix {
            command.extend(["--prefix".into(), prefix.clone()]);
        }
        command.push(self.args.version.clone());
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        self.run(&command, "Failed to perform archive operation")?;
        if self.host.read_optional(archive)?.as_deref() == Some(&fs::read(&place)?) {
            return Ok(false);
        }
        fs::rename(&place, archive)?;
        Ok(true)
    }
}

/// The ssh command with what the arguments add to it.
fn ssh_command(args: &Args, host: &Host) -> String {
    let variable = |name: &str| {
        host.environment
            .iter()
            .find(|(k, _)| k == name)
            .map(|(_, v)| v.clone())
            .or_else(|| std::env::var(name).ok())
    };
    let mut command =
        variable("GIT_SSH").or_else(|| variable("GIT_SSH_COMMAND")).unwrap_or_else(|| "ssh".into());
    let mut add = |option: &str, marker: &str| {
        if !command.contains(marker) {
            command.push(' ');
            command.push_str(option);
        }
    };
    if let Some(options) = &args.ssh_opts {
        add(options, options);
    }
    if args.accept_hostkey {
        add("-o StrictHostKeyChecking=no", "StrictHostKeyChecking=");
    }
    if args.accept_newhostkey {
        add("-o StrictHostKeyChecking=accept-new", "StrictHostKeyChecking=");
    }
    add("-o BatchMode=yes", "BatchMode=");
    if let Some(key) = &args.key_file {
        let key = host.path(key).display().to_string();
        add(&format!("-i '{}' -o IdentitiesOnly=yes", key.replace('\'', "'\\''")), &key);
    }
    command
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.separate_git_dir.is_some() && args.bare {
        return Err("parameters are mutually exclusive: separate_git_dir|bare".into());
    }
    if args.accept_hostkey && args.accept_newhostkey {
        return Err("parameters are mutually exclusive: accept_hostkey|accept_newhostkey".into());
    }
    if args.version.starts_with('-') || args.repo.starts_with('-') {
        return Err("neither a version nor a repository begins with a dash".into());
    }
    if args.dest.is_none() && args.clone {
        return Err("the destination directory must be specified unless clone=no".into());
    }
    let program = args.executable.as_deref().unwrap_or("git");
    host.program(program)?;
    let dest = host.path(args.dest.as_deref().unwrap_or("/nonexistent"));
    let repo = if args.repo.starts_with('/') || args.repo.starts_with('~') {
        // Options such as `depth` mean nothing to plain paths.
        format!("file://{}", host.path(&args.repo).display())
    } else {
        args.repo.clone()
    };
    let (check, diff) = (host.check, host.diff);
    let ssh = ssh_command(&args, host);
    let separate = args.separate_git_dir.as_ref().map(|place| {
        let place = host.path(place);
        let (folder, name) = (place.parent(), place.file_name());
        let folder = folder.and_then(|folder| fs::canonicalize(folder).ok());
        let in_folder = folder.zip(name).map(|(folder, name)| folder.join(name));
        fs::canonicalize(&place).ok().or(in_folder).unwrap_or(place)
    });
    let git = Git { host, args: &args, repo, dest, separate, ssh };
    let mut outcome = Map::new();
    let mut changed = false;
    let mut folder = git.folder()?;
    if let Some(place) = &git.separate
        && args.dest.is_some()
        && folder.exists()
        && fs::canonicalize(&folder)? != *place
    {
        changed = true;
        if !check {
            git.relocate(&folder, place)?;
            outcome.set("git_dir_before", folder.display().to_string());
            outcome.set("git_dir_now", place.display().to_string());
            folder.clone_from(place);
        }
    }
    let there = args.dest.is_some() && folder.join("config").exists();
    let put =
        |map: &Map, name: &str, value: Option<String>| map.set(name, value.map_or(Value::None, Value::from));
    let done = |changed: bool, map: &mut Map| Ok(Outcome { changed, fields: std::mem::take(map) });
    put(&outcome, "before", None);
    if !there && (check || !args.clone) {
        put(&outcome, "after", Some(git.remote_head()?));
        return done(true, &mut outcome);
    }
    let archive = args.archive.as_ref().map(|a| git.host.path(a));
    if there && !args.update {
        let head = git.head()?;
        put(&outcome, "before", head.clone());
        put(&outcome, "after", head);
        if let Some(archive) = &archive {
            if check {
                return done(true, &mut outcome);
            }
            changed |= git.archive(archive)?;
        }
        return done(changed, &mut outcome);
    }
    let mut before = None;
    if there {
        before = git.head()?;
        put(&outcome, "before", before.clone());
        if git.local_changes()? {
            let message = format!("Local modifications exist in the destination: {}", git.dest.display());
            if !args.force {
                return Err(
                    Failure::new(format!("{message} (force=no).")).with("before", before.unwrap_or_default())
                );
            }
            if !check {
                git.run(&["reset", "--hard", "HEAD"], "Failed to reset")?;
            }
            outcome.set("msg", message);
            changed = true;
        }
        let known = git.says(&["ls-remote", "--get-url", &args.remote])?.unwrap_or_default();
        let moved = known != git.repo && !same_path(&known, &git.repo);
        outcome.set("remote_url_changed", moved);
        if moved && !check {
            let set = git.at(Some(&git.dest), &["remote", "set-url", &args.remote, &git.repo])?;
            if !set.success() {
                git.run(
                    &["remote", "add", &args.remote, &git.repo],
                    "Failed to set a new url for the remote",
                )?;
            }
        }
        changed |= moved;
        if check {
            let after = git.remote_head()?;
            changed |= before.as_ref() != Some(&after);
            put(&outcome, "after", Some(after));
            return done(changed, &mut outcome);
        }
        git.fetch()?;
    } else {
        git.clone()?;
    }
    if !args.bare {
        git.switch()?;
        if args.recursive && git.submodules()? {
            outcome.set("submodules_changed", true);
            changed = true;
        }
    }
    let after = git.head()?;
    changed |= before != after;
    if changed && diff {
        let text = match (&before, &after) {
            (Some(before), Some(after)) if before != after => {
                git.says(&["diff", before, after])?.map(|d| format!("{d}\n"))
            }
            (None, Some(after)) => Some(format!(">> Newly checked out {after}")),
            _ => None,
        };
        if let Some(text) = text {
            outcome.set("diff", Value::map([("prepared", Value::from(text))]));
        }
    }
    put(&outcome, "after", after);
    if let Some(archive) = &archive {
        changed |= git.archive(archive)?;
    }
    done(changed, &mut outcome)
}

/// Whether two addresses are the same folder of this machine.
fn same_path(one: &str, other: &str) -> bool {
    let real = |address: &str| {
        let path = address.strip_prefix("file://").unwrap_or(address);
        fs::canonicalize(path).ok()
    };
    real(one).is_some_and(|path| Some(path) == real(other))
}

module!("git", "ansible.builtin", Args, run);
