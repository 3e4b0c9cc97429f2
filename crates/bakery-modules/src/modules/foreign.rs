//! `foreign`: runs a module that is a program of its own, for which the controller has sent everything it needs.
//!
//! New-style Python modules find `ansible.module_utils` in the given folders and their parameters where
//! `AnsibleModule` looks for them (`ansible/module_utils/_internal/_ansiballz/_loader.py`); old-style modules and
//! `WANT_JSON` ones get a file of arguments, as `ansible/executor/module_common.py` gives them.

use std::path::PathBuf;

use bakery_host::fs;
use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;
use base64::Engine as _;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs a module that bakery does not have itself; plays name that module, not this one.
#[derive(ModuleArgs)]
struct Args {
    /// The module's name.
    #[arg(required)]
    name: String,
    /// Its program, in base64.
    #[arg(required)]
    program: String,
    /// `python` for new-style modules, else `json`, `words` or `binary`.
    #[arg(required)]
    style: String,
    /// The interpreter; the program's own first line if empty.
    interpreter: Option<String>,
    /// Its parameters, as JSON.
    #[arg(required)]
    params: String,
    /// Folders of Python packages.
    paths: Vec<String>,
    /// Folders of further module utilities.
    utils: Vec<String>,
    /// Its name as a Python module, for modules of collections.
    package: Option<String>,
    /// Module utilities that have another name today: the old name and the new one, as Python imports them.
    moved: Option<Map>,
    /// The digest of an archive that the paths and utilities are in, kept on this machine.
    bundle: Option<String>,
    /// Whether halves of surrogate pairs in what it prints are question marks; else they are an error.
    lossy: bool,
    /// That archive, in base64, when this machine does not have it.
    bundle_data: Option<String>,
}

/// Sets the scene for a new-style module and runs it.
const WRAPPER: &str = r"
import sys, json, runpy
spec = json.loads(sys.stdin.buffer.read().decode('utf-8', 'surrogateescape'))
sys.stdin = open('/dev/null')
sys.path[:0] = spec['paths']
import ansible.module_utils
ansible.module_utils.__path__[:0] = spec['utils']
import importlib, importlib.util
class Moved:
  def find_spec(self, name, path=None, target=None):
    if name in spec['moved']:
      return importlib.util.spec_from_loader(name, self)
  def create_module(self, found):
    new = spec['moved'][found.name]
    try:
      return importlib.import_module(new)
    except ModuleNotFoundError as error:
      if (error.name or '').count('.') <= 2 and new.startswith(str(error.name) + '.'):
        raise ImportError('unable to locate collection ' + '.'.join(new.split('.')[1:3]))
      raise
  def exec_module(self, module):
    pass
sys.meta_path.append(Moved())
from ansible.module_utils import basic
basic._ANSIBLE_ARGS = json.dumps({'ANSIBLE_MODULE_ARGS': json.loads(spec['params'])}).encode()
basic._ANSIBLE_PROFILE = 'legacy'
sys.argv = [spec['name']]
names = dict(_module_fqn=spec['package'] or 'ansible.modules.' + spec['name'], _modlib_path='')
def run():
  if spec['package']:
    runpy.run_module(spec['package'], init_globals=names, run_name='__main__', alter_sys=True)
  else:
    names.update(__name__='__main__', __file__=spec['name'], __builtins__=__builtins__)
    exec(compile(spec['code'], spec['name'], 'exec'), names)
try:
    run()
except Exception as error:
    import traceback
    msg = 'Module failed: ' + str(error)
    if isinstance(error, ImportError) and 'module_utils' in (error.name or ''):
        msg = 'Could not find imported module support code for {}.  Looked for ({!r})'.format(names['_module_fqn'], error.name)
    print('\n' + json.dumps(dict(failed=True, msg=msg, exception=traceback.format_exc())))
    sys.exit(1)
";

fn run(args: Args, host: &mut Host) -> Run {
    let program = base64::engine::general_purpose::STANDARD
        .decode(&args.program)
        .map_err(|e| Failure::new(format!("the module {} did not arrive whole: {e}", args.name)))?;
    let mut args = args;
    if let Some(digest) = args.bundle.clone() {
        let Some(folder) = bundle(&digest, args.bundle_data.as_deref())? else {
            return Err(Failure::new("the module's utilities are not on this machine")
                .with("bundle_is_missing", true));
        };
        let inside = |paths: &[String]| paths.iter().map(|p| folder.join(p).display().to_string()).collect();
        args.paths = inside(&args.paths);
        args.utils = inside(&args.utils);
    }
    let output = if args.style == "python" {
        let interpreter = args.interpreter.as_deref().unwrap_or("/usr/bin/python3");
        let spec = serde_json::json!({
            "name": args.name, "params": args.params, "paths": args.paths, "utils": args.utils,
            "package": args.package, "code": String::from_utf8_lossy(&program),
            "moved": json::to_json(&Value::Map(args.moved.unwrap_or_default())),
        });
        host.cmd(interpreter).arg("-c").arg(WRAPPER).input(spec.to_string()).output().map_err(|e| {
            Failure::new(format!(
                "the module {} needs Python, and {interpreter} cannot be run: {e}; set ansible_python_interpreter, or use a module that bakery has itself",
                args.name
            ))
        })?
    } else {
        let folder = tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?;
        let (path, given) = (folder.path().join(&args.name), folder.path().join("args"));
        fs::write_lightly(&path, &program, 0o700)?;
        fs::write_lightly(&given, argument_file(&args), 0o600)?;
        let cmd = match args.interpreter.as_deref().filter(|i| !i.is_empty()) {
            Some(interpreter) => {
                let mut words = interpreter.split_whitespace();
                host.cmd(words.next().unwrap_or("/bin/sh")).args(words).arg(&path)
            }
            None => host.cmd(&path.display().to_string()),
        };
        // As a shell has it that does not find a program.
        cmd.arg(given).output().map_err(|e| {
            let why = e.to_string();
            let failure = Failure::new(format!("MODULE FAILURE: {why}"));
            failure.with("module_stdout", "").with("module_stderr", why).with("rc", 127)
        })?
    };
    let mut text = output.text();
    let mut refused = None;
    if let Some((without, escape, at)) = bakery_lang::json::without_lone_surrogates(&text) {
        if args.lossy {
            text = without;
        } else {
            refused = Some(format!(
                "Refusing to deserialize an invalid UTF8 string value: 'utf-8' codec can't encode character '{escape}' in position {at}: surrogates not allowed"
            ));
        }
    }
    let Some((result, junk)) = document(&text).filter(|_| refused.is_none()) else {
        let failure = Failure::new(if let Some(refused) = refused {
            refused
        } else if output.code == 0 {
            "MODULE FAILURE: the module printed no result".to_owned()
        } else {
            format!("MODULE FAILURE: the module printed no result (exit code {})", output.code)
        });
        return Err(failure
            .with("module_stdout", text)
            .with("module_stderr", output.error_text())
            .with("rc", output.code));
    };
    if !junk.trim().is_empty() {
        let mut warnings = result.get("warnings").and_then(|w| w.as_items()).unwrap_or_default();
        warnings
            .push(format!("Module invocation had trailing junk after module output: {}", junk.trim()).into());
        result.set("warnings", warnings);
    }
    for key in ["warnings", "deprecations", "exception"] {
        if let Some(said) = result.get(key) {
            result.set(key, plain(&said));
        }
    }
    result.remove("_ansible_parsed");
    // As ansible-core's async_wrapper.
    if host.in_background && !output.stderr.is_empty() {
        result.set("stderr", output.error_text());
    }
    let changed = result.remove("changed").is_some_and(|c| c.is_true());
    // What the module says is the result, whether it failed or not.
    Ok(Outcome { changed, fields: result })
}

/// What ansible-core's module utilities say as objects of their own, as the text or mapping that tasks see
/// (`ansible/module_utils/_internal/_messages.py`).
fn plain(said: &Value) -> Value {
    match said {
        Value::List(list) => Value::list(list.items().iter().map(plain).collect()),
        Value::Map(map) => {
            let event = map.get("event").unwrap_or_default();
            let message = event.get("msg").unwrap_or_default();
            match map.get("__ansible_type").as_ref().and_then(Value::as_str) {
                Some("WarningSummary") => message,
                Some("DeprecationSummary") => {
                    let plain = Map::from_iter([("msg", message)]);
                    // The collection of what deprecates: the first two words of its name.
                    let deprecator = map.get("deprecator").and_then(|d| d.get("resolved_name"));
                    let name = deprecator.map(|name| name.to_string()).unwrap_or_default();
                    if let [namespace, collection, ..] = name.split('.').collect::<Vec<_>>().as_slice() {
                        plain.set("collection_name", format!("{namespace}.{collection}"));
                    }
                    for key in ["date", "version"] {
                        if let Some(value) = map.get(key).filter(|value| !value.is_none()) {
                            plain.set(key, value);
                        }
                    }
                    plain.into()
                }
                Some("ErrorSummary") => event.get("formatted_traceback").unwrap_or(message),
                _ => said.clone(),
            }
        }
        other => other.clone(),
    }
}

/// The folder of an archive that was sent, unpacked; `None` when it has to be sent.
fn bundle(digest: &str, data: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::new(format!("the module's utilities: {e}"));
    if !digest.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Err(failed(&"their digest is none"));
    }
    // Every user has a folder of its own, which nobody else may write to.
    let own = PathBuf::from(format!("/var/tmp/.bakery-{}", bakery_host::namespace::outer_uid()));
    let folder = own.join(format!("utils-{digest}"));
    let is_ours = || fs::is_ours(&own);
    if folder.is_dir() && is_ours() {
        return Ok(Some(folder));
    }
    let Some(data) = data else { return Ok(None) };
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).map_err(|e| failed(&e))?;
    fs::create_dir_all(&own).map_err(|e| failed(&e))?;
    if !is_ours() {
        return Err(failed(&format!("{} is not ours", own.display())));
    }
    let fresh = tempfile::Builder::new().prefix(".utils-").tempdir_in(&own).map_err(|e| failed(&e))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
    archive.unpack(fresh.path()).map_err(|e| failed(&e))?;
    // Whole or not at all; somebody else may have been quicker.
    if fs::rename(fresh.path(), &folder).is_ok() {
        let _ = fresh.keep();
    }
    Ok(Some(folder))
}

/// The file that a module that is no new-style Python reads.
fn argument_file(args: &Args) -> String {
    if args.style != "words" {
        return args.params.clone();
    }
    let params: serde_json::Value = serde_json::from_str(&args.params).unwrap_or_default();
    let words: Vec<String> = json::from_json(&params)
        .as_map()
        .map(Map::pairs)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| format!("{key}={}", quoted(&value)))
        .collect();
    words.join(" ")
}

fn quoted(value: &Value) -> String {
    let text = value.to_string();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\"'\"'"))
}

/// The JSON document among the lines of a module's output, and what stands after it.
fn document(text: &str) -> Option<(Map, String)> {
    let start = text.lines().position(|l| l.trim_start().starts_with('{'))?;
    let lines: Vec<&str> = text.lines().skip(start).collect();
    (1..=lines.len()).rev().filter(|end| lines[end - 1].trim_end().ends_with('}')).find_map(|end| {
        let value: serde_json::Value = serde_json::from_str(&lines[..end].join("\n")).ok()?;
        Some((json::from_json(&value).as_map().cloned()?, lines[end..].join("\n")))
    })
}

module!("foreign", "bakery.internal", Args, run);
