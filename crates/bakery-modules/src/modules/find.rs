//! `find`: paths by name, age, size and content (`ansible/modules/find.py`).

use std::path::Path;

use bakery_host::fs;
use bakery_lang::regex::{Flags, compile};
use bakery_lang::{Map, Value, encoding};
use bakery_macros::ModuleArgs;
use fancy_regex::Regex;
use std::os::unix::fs::MetadataExt as _;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Returns the paths under some folders that fit.
#[derive(ModuleArgs)]
struct Args {
    /// Where to look.
    #[arg(required, alias = "name,path")]
    paths: Vec<String>,
    /// Patterns of the file name: shell patterns, or regular expressions with `use_regex`.
    #[arg(alias = "pattern")]
    patterns: Option<Vec<String>>,
    /// Patterns of names to leave out.
    #[arg(alias = "exclude")]
    excludes: Option<Vec<String>>,
    /// A pattern that the content must have.
    contains: Option<String>,
    /// Whether `contains` is searched in the whole file instead of each line.
    read_whole_file: bool,
    /// The kind of path.
    #[arg(default = "file", choices = "any,directory,file,link")]
    file_type: String,
    /// Whether folders are entered.
    recurse: bool,
    /// How deep to go.
    depth: Option<i64>,
    /// The least age, or the most with a minus: `2d`, `4w`, seconds.
    age: Option<String>,
    /// Which time counts for the age.
    #[arg(default = "mtime", choices = "atime,ctime,mtime")]
    age_stamp: String,
    /// The least size, or the most with a minus: `10m`, bytes.
    size: Option<String>,
    /// Whether hidden paths are included.
    hidden: bool,
    /// Whether links are followed.
    follow: bool,
    /// Whether a checksum is returned.
    get_checksum: bool,
    /// The checksum's kind.
    #[arg(
        default = "sha1",
        alias = "checksum,checksum_algo",
        choices = "md5,sha1,sha224,sha256,sha384,sha512"
    )]
    checksum_algorithm: String,
    /// The encoding of the files that `contains` is searched in, UTF-8 unless it is named.
    encoding: Option<String>,
    /// Whether patterns are regular expressions.
    use_regex: bool,
    /// The most paths to return.
    limit: Option<i64>,
    /// A mode that paths must have.
    mode: Option<Value>,
    /// Whether all bits of `mode` must be exactly so.
    #[arg(default = "true")]
    exact_mode: bool,
}

/// An error as Python's `str(OSError)` writes it.
fn python_error(error: &fs::Error) -> String {
    let number = error.source.raw_os_error().unwrap_or(0);
    format!("[Errno {number}] {}: '{}'", error.reason(), error.path.display())
}

/// Whether a name fits a shell pattern of `*`, `?` and sets.
pub(super) fn wildcard(pattern: &str, name: &str) -> bool {
    Wildcard::new(pattern).matches(name)
}

/// A shell pattern for many names.
pub(super) struct Wildcard(Option<Regex>);

impl Wildcard {
    pub(super) fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_some_and(|regex| regex.is_match(name).unwrap_or(false))
    }

    pub(super) fn new(pattern: &str) -> Self {
        let mut regex = String::from("^");
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            match c {
                '*' => regex.push_str(".*"),
                '?' => regex.push('.'),
                '[' => {
                    let set: String = chars.by_ref().take_while(|c| *c != ']').collect();
                    let set = set.strip_prefix('!').map_or(set.clone(), |rest| format!("^{rest}"));
                    regex.push_str(&format!("[{set}]"));
                }
                c if c.is_alphanumeric() || c == '_' => regex.push(c),
                c => {
                    regex.push('\\');
                    regex.push(c);
                }
            }
        }
        regex.push_str("\\Z");
        Self(compile(&regex, Flags { dot_all: true, ..Flags::default() }).ok())
    }
}

/// A number with a unit, in the base unit.
fn amount(text: &str, units: &[(char, f64)]) -> Result<f64, Failure> {
    let (number, unit) = match text.chars().last().filter(char::is_ascii_alphabetic) {
        Some(unit) => (&text[..text.len() - 1], Some(unit.to_ascii_lowercase())),
        None => (text, None),
    };
    let factor = units.iter().find(|(u, _)| Some(*u) == unit).map_or(1.0, |(_, f)| *f);
    number.parse::<f64>().map(|n| n * factor).map_err(|_| Failure::new(format!("failed to process {text}")))
}

fn run(args: Args, host: &mut Host) -> Run {
    let age = args
        .age
        .as_deref()
        .map(|t| amount(t, &[('s', 1.0), ('m', 60.0), ('h', 3600.0), ('d', 86400.0), ('w', 604_800.0)]))
        .transpose()?;
    let size = args
        .size
        .as_deref()
        .map(|t| {
            amount(
                t,
                &[
                    ('b', 1.0),
                    ('k', 1024.0),
                    ('m', 1_048_576.0),
                    ('g', 1_073_741_824.0),
                    ('t', 1_099_511_627_776.0),
                ],
            )
        })
        .transpose()?;
    let contains = args.contains.as_deref().map(|p| compile(p, Flags::default())).transpose()?;
    let fits_name = |patterns: &Option<Vec<String>>, name: &str, default: bool| match patterns {
        None => default,
        Some(patterns) => patterns.iter().any(|p| {
            if args.use_regex {
                compile(&format!("^(?:{p})"), Flags::default())
                    .is_ok_and(|r| r.is_match(name).unwrap_or(false))
            } else {
                wildcard(p, name)
            }
        }),
    };
    if let Some(limit) = args.limit.filter(|limit| *limit <= 0) {
        return Err(Failure::new(format!("limit cannot be {limit} (use None for unlimited)")));
    }
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
    let mut files = Vec::new();
    let mut examined = 0;
    let skipped = Map::new();
    let mut has_warnings = false;
    for root in &args.paths {
        let root = host.path(root);
        if !root.is_dir() {
            let problem = format!("'{}' is not a directory", root.display());
            host.warn(format!("Skipped '{}' path due to this access issue: {problem}\n", root.display()));
            skipped.set(&root.display().to_string(), problem);
            has_warnings = true;
            continue;
        }
        let mut pending = vec![(root.clone(), 1)];
        while let Some((folder, depth)) = pending.pop() {
            let inside = fs::read_dir(&folder).unwrap_or_else(|error| {
                skipped.set(&folder.display().to_string(), python_error(&error));
                vec![]
            });
            for path in inside {
                examined += 1;
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                let Ok(meta) = path.symlink_metadata() else { continue };
                // What is in the last folders is looked at, and left out: ansible-core counts it, too. Hidden folders
                // are entered whatever `hidden` says.
                let is_near = args.depth.is_none_or(|most| depth <= most);
                if args.recurse && is_near && (meta.is_dir() || args.follow && path.is_dir()) {
                    pending.push((path.clone(), depth + 1));
                }
                if !is_near || !args.hidden && name.starts_with('.') {
                    continue;
                }
                let kind = match args.file_type.as_str() {
                    "any" => true,
                    "directory" => meta.is_dir(),
                    "link" => path.is_symlink(),
                    _ => meta.is_file(),
                };
                let time = match args.age_stamp.as_str() {
                    "atime" => meta.atime(),
                    "ctime" => meta.ctime(),
                    _ => meta.mtime(),
                };
                let old = age.is_none_or(|age| {
                    if age >= 0.0 { now - time as f64 >= age } else { now - time as f64 <= -age }
                });
                let large = size.filter(|_| meta.is_file()).is_none_or(|size| {
                    if size >= 0.0 { meta.size() as f64 >= size } else { meta.size() as f64 <= -size }
                });
                let mode = match &args.mode {
                    Some(mode) => {
                        let wanted = crate::host::parse_mode(mode, 0, false)?;
                        let has = meta.mode() & 0o7777;
                        if args.exact_mode { has == wanted } else { has & wanted == wanted }
                    }
                    None => true,
                };
                let fits = kind
                    && old
                    && large
                    && mode
                    && fits_name(&args.patterns, &name, true)
                    && !fits_name(&args.excludes, &name, false);
                if !fits {
                    continue;
                }
                match content_fits(&path, contains.as_ref(), &args, meta.is_file()) {
                    Ok(true) => files.push(entry(&args, &path, &meta)),
                    Ok(false) => {}
                    // What cannot be read ends the search of this folder.
                    Err(problem) => {
                        let root = root.display().to_string();
                        host.warn(format!("Skipped '{root}' path due to this access issue: {problem}\n"));
                        skipped.set(&root, problem);
                        has_warnings = true;
                        pending.clear();
                        break;
                    }
                }
            }
        }
    }
    files.sort_by_key(|file| file.get("path").map(|p| p.to_string()));
    let mut msg = "All paths examined";
    if let Some(limit) = args.limit.map(|limit| limit as usize)
        && files.len() >= limit
    {
        files.truncate(limit);
        msg = "Limit of matches reached";
    }
    if has_warnings {
        msg = "Not all paths examined, check warnings for details";
    }
    Ok(Outcome::unchanged()
        .with("matched", files.len())
        .with("files", files)
        .with("examined", examined)
        .with("skipped_paths", skipped)
        .msg(msg))
}

fn content_fits(path: &Path, regex: Option<&Regex>, args: &Args, is_file: bool) -> Result<bool, String> {
    let Some(regex) = regex else { return Ok(true) };
    if !is_file {
        return Ok(false);
    }
    let Ok(bytes) = fs::read(path) else { return Ok(false) };
    let text = encoding::decode(args.encoding.as_deref().unwrap_or("utf-8"), &bytes)?;
    let text = text.ok_or_else(|| {
        let unnamed = "None (default determined by the Python built-in function \"open\")";
        format!(
            "Failed to read the file {} due to an encoding error. current encoding: {}",
            path.display(),
            args.encoding.as_deref().unwrap_or(unnamed)
        )
    })?;
    let anchored = |line: &str| matches!(regex.find(line), Ok(Some(m)) if m.start() == 0);
    Ok(if args.read_whole_file { regex.is_match(&text).unwrap_or(false) } else { text.lines().any(anchored) })
}

fn entry(args: &Args, path: &Path, meta: &std::fs::Metadata) -> Value {
    let map = super::stat::about(meta);
    map.set("path", path.display().to_string());
    if args.get_checksum && meta.is_file() {
        let sums = crate::digests::of_file(path, [&args.checksum_algorithm]);
        map.set("checksum", sums.ok().and_then(|[sum]| sum));
    }
    map.into()
}

module!("find", "ansible.builtin", Args, run);
