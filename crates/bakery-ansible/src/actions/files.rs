//! Actions that bring files from the controller: template, copy, unarchive, assemble, script, uri.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_jinja::Syntax;
use bakery_lang::{Diagnostic, Map, Source, Value, encoding, repr};
use base64::Engine as _;
use std::os::unix::fs::MetadataExt as _;

use super::{Modules, Outcome, Trouble, fail, module, ok};
use crate::Templar;

pub(super) fn encode(bytes: &[u8]) -> Value {
    base64::engine::general_purpose::STANDARD.encode(bytes).into()
}

/// What is in a file of the controller: of a vault what it holds, unless `decrypt` says that the vault itself is meant
/// (`ansible/parsing/dataloader.py`, `get_real_file`).
pub(super) fn source(path: &Path, args: &Map, modules: &mut dyn Modules) -> Result<Vec<u8>, Trouble> {
    let bytes = match modules.controller_file(path) {
        Some(bytes) => bytes,
        None => fs::read(path).map_err(|e| fail(e.to_string()))?,
    };
    let decrypts = !args.contains("decrypt") || flag(args, "decrypt");
    if !decrypts || !crate::vault::is_encrypted(&bytes) {
        return Ok(bytes);
    }
    let loader = modules.loader();
    let name = path.display();
    if loader.secrets.is_empty() {
        return Err(fail(format!("A vault password or secret must be specified to decrypt {name}")));
    }
    loader.open_vault(&bytes).map_err(|e| fail(format!("{} ({name})", e.diagnostic.message)))
}

/// From how many bytes on a file is not put into a call where the module can read it itself.
const LARGE: u64 = 4 << 20;

/// Gives a call what is in a file of the controller; or, where the module runs beside it and the file is large, its path.
pub(super) fn carry(call: &Map, path: &Path, args: &Map, modules: &mut dyn Modules) -> Result<(), Trouble> {
    let is_ours = modules.shares_files() && modules.becomes().is_none_or(|user| user == "root");
    let is_large = fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.len() >= LARGE);
    // What a vault holds is known here alone.
    if is_ours && is_large && !fs::read_start(path, 64).is_ok_and(|start| crate::vault::is_encrypted(&start))
    {
        let path = fs::canonicalize(path).map_err(|e| fail(e.to_string()))?;
        call.set("_path", path.display().to_string());
    } else {
        call.set("_data", encode(&source(path, args, modules)?));
    }
    Ok(())
}

pub(super) fn text(args: &Map, name: &str) -> Option<String> {
    args.get(name).filter(|v| !v.is_none()).map(|v| v.to_string())
}

pub(super) fn flag(args: &Map, name: &str) -> bool {
    args.get(name).is_some_and(|v| bakery_modules::args::boolean(&v).unwrap_or(false))
}

/// The first line `#jinja2: key:value, …` changes the syntax of one template.
///
/// # Errors
/// With ansible-core's words (`_internal/_templating/_jinja_bits.py`), what is wrong in that line.
fn header(text: &str) -> Result<(Syntax, &str), String> {
    const MARK: &str = "#jinja2:";
    let mut syntax = Syntax::default();
    let Some(rest) = text.strip_prefix(MARK) else { return Ok((syntax, text)) };
    let (line, body) =
        rest.split_once('\n').ok_or_else(|| format!("Missing newline after '{MARK}' override."))?;
    for pair in line.split(',') {
        if pair.trim().is_empty() {
            return Err(format!("Empty '{MARK}' override pair not allowed."));
        }
        let (key, value) = pair.split_once(':').ok_or_else(|| {
            format!("Missing key-value separator `:` in '{MARK}' override pair {}.", repr::quote(pair))
        })?;
        let value = value.trim().trim_matches(['"', '\'']);
        let on = matches!(value.to_lowercase().as_str(), "true" | "yes" | "1");
        match key.trim() {
            "trim_blocks" => syntax.trim_blocks = on,
            "lstrip_blocks" => syntax.lstrip_blocks = on,
            "keep_trailing_newline" => syntax.keep_trailing_newline = on,
            "block_start_string" => syntax.block_start = value.into(),
            "block_end_string" => syntax.block_end = value.into(),
            "variable_start_string" => syntax.variable_start = value.into(),
            "variable_end_string" => syntax.variable_end = value.into(),
            "comment_start_string" => syntax.comment_start = value.into(),
            "comment_end_string" => syntax.comment_end = value.into(),
            "line_statement_prefix" => syntax.line_statement_prefix = Some(value.into()),
            "line_comment_prefix" => syntax.line_comment_prefix = Some(value.into()),
            "newline_sequence" => {}
            other => return Err(format!("Invalid '{MARK}' override key {}.", repr::quote(other))),
        }
    }
    Ok((syntax, body))
}

/// A template file, rendered with the variables that describe it (`ansible/template/__init__.py`,
/// `generate_ansible_template_vars`).
fn prepare(templar: &Templar, path: &Path, args: &Map, dest: &str) -> Result<Prepared, Diagnostic> {
    let failed = |e: String| Diagnostic::new(e);
    let bytes = fs::read(path).map_err(|e| failed(e.to_string()))?;
    let whole = match &templar.loader {
        Some(loader) => loader.decrypted(path, bytes).map_err(|e| e.diagnostic)?,
        None => String::from_utf8_lossy(&bytes).into_owned(),
    };
    let (mut syntax, body) = header(&whole).map_err(failed)?;
    for (key, value) in args.pairs() {
        let (key, on) = (key.to_string(), bakery_modules::args::boolean(&value).unwrap_or(false));
        match key.as_str() {
            "trim_blocks" => syntax.trim_blocks = on,
            "lstrip_blocks" => syntax.lstrip_blocks = on,
            "block_start_string" => syntax.block_start = value.to_string(),
            "block_end_string" => syntax.block_end = value.to_string(),
            "variable_start_string" => syntax.variable_start = value.to_string(),
            "variable_end_string" => syntax.variable_end = value.to_string(),
            "comment_start_string" => syntax.comment_start = value.to_string(),
            "comment_end_string" => syntax.comment_end = value.to_string(),
            "line_statement_prefix" => syntax.line_statement_prefix = Some(value.to_string()),
            "line_comment_prefix" => syntax.line_comment_prefix = Some(value.to_string()),
            _ => {}
        }
    }
    let extra = Map::new();
    let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string();
    let meta = std::fs::metadata(path).ok();
    let modified = meta.as_ref().and_then(|m| m.modified().ok()).unwrap_or(std::time::UNIX_EPOCH);
    let uid = meta.as_ref().map(std::os::unix::fs::MetadataExt::uid).unwrap_or_default();
    let owner = bakery_host::users::find_user(&uid.to_string());
    let owner = owner.map_or_else(|| uid.into(), |user| Value::from(user.name));
    let modified = bakery_lang::Time::local(modified);
    let host =
        bakery_host::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let managed = match templar.layers.get("ansible_managed") {
        Some(own) => own,
        None => managed(templar, &modified),
    };
    let relative = args.get("src").map_or_else(|| full.clone(), |s| s.to_string());
    extra.set("ansible_managed", managed);
    extra.set("template_host", host);
    extra.set("template_path", relative);
    extra.set("template_fullpath", full);
    extra.set("template_destpath", if dest.is_empty() { Value::None } else { dest.into() });
    extra.set("template_uid", owner);
    extra.set("template_mtime", modified);
    extra.set("template_run_date", bakery_lang::Time::now(false));
    let mut inner = templar.with(&extra);
    if let Some(folder) = path.parent() {
        inner.search.insert(0, folder.to_path_buf());
    }
    syntax.keep_trailing_newline = false;
    let source = Source::new(path.display().to_string(), body);
    Ok(Prepared { templar: inner, source, syntax, newlines: newlines(body) })
}

/// The value of `ansible_managed` that settings give: `{file}`, `{host}` and `{uid}` are those of the template, and
/// directives of `strftime` its time of change (`ansible/_internal/_templating/_template_vars.py`).
fn managed(templar: &Templar, modified: &bakery_lang::Time) -> Value {
    let text = templar
        .loader
        .as_ref()
        .and_then(|l| l.settings.text("ANSIBLE_MANAGED", "defaults", "ansible_managed"))
        .unwrap_or_else(|| "Ansible managed".into());
    let names = [("{file}", "template_path"), ("{host}", "template_host"), ("{uid}", "template_uid")];
    let mut made = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        made.push_str(&rest[..at]);
        rest = &rest[at..];
        // As Python formats: two braces are one.
        let known = names.iter().find(|(name, _)| rest.starts_with(name));
        let (taken, put) = match known {
            Some((name, variable)) => (name.len(), format!("{{{{ {variable} }}}}")),
            None if rest.starts_with("{{") || rest.starts_with("}}") => (2, rest[..1].to_owned()),
            None => (1, rest[..1].to_owned()),
        };
        made.push_str(&put);
        rest = &rest[taken..];
    }
    made.push_str(rest);
    let origin = Source::new("ansible_managed", text.as_str()).at_offset(0);
    let made = if made.contains('%') { modified.format(&made) } else { made };
    Value::Str(bakery_lang::Text::written(made, origin))
}

/// A template file, ready to be rendered.
struct Prepared {
    templar: Templar,
    source: std::sync::Arc<Source>,
    syntax: Syntax,
    /// How many of them the file ends with.
    newlines: usize,
}

fn newlines(text: &str) -> usize {
    text.len() - text.trim_end_matches('\n').len()
}

impl Prepared {
    /// As many newlines at the end as the file has, whatever its last statement took.
    fn ended(&self, mut rendered: String) -> String {
        rendered.push_str(&"\n".repeat(self.newlines.saturating_sub(newlines(&rendered))));
        rendered
    }

    /// The text. What is none, nothing or a list, has no newline at its end.
    fn text(&self) -> Result<String, Diagnostic> {
        let (text, is_text) = self.templar.template(&self.source, &self.syntax)?;
        Ok(if is_text { self.ended(text) } else { text })
    }

    /// The value: of the one expression that the file consists of, else its text.
    fn value(&self) -> Result<Value, Diagnostic> {
        Ok(match self.templar.template_value(&self.source, &self.syntax)? {
            Value::Str(text) => self.ended(text.as_str().to_owned()).into(),
            other => other,
        })
    }
}

/// `lookup('template', …)`.
pub(crate) fn render_lookup(templar: &Templar, name: &str, options: &Map) -> bakery_jinja::Result<Value> {
    let path = templar.find_file("templates", name).ok_or_else(|| {
        bakery_jinja::Error::new(format!("the template file {name} could not be found for the lookup"))
    })?;
    let vars = options.get("template_vars").and_then(|v| v.as_map().cloned()).unwrap_or_default();
    prepare(&templar.with(&vars), &path, options, "")
        .and_then(|prepared| prepared.value())
        .map_err(|d| bakery_jinja::Error::new(d.message))
}

pub(super) fn template(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let (Some(src), Some(_)) = (text(args, "src"), text(args, "dest")) else {
        return Err(fail("src and dest are required"));
    };
    let path = templar.find_file("templates", &src).ok_or_else(|| {
        fail(format!(
            "Could not find or access '{src}'; it is searched in the role's and the playbook's templates"
        ))
    })?;
    let mut rendered = prepare(templar, &path, args, &text(args, "dest").unwrap_or_default())?.text()?;
    // Text without any expression is no template for ansible-core, and its lines stay as they are.
    let is_template =
        || fs::read_to_string(&path).is_ok_and(|body| body.contains('{') || body.contains("#jinja2:"));
    if let Some(newline) = text(args, "newline_sequence").filter(|n| n != "\n" && is_template()) {
        rendered = rendered.replace('\n', &newline.replace("\\r", "\r").replace("\\n", "\n"));
    }
    let call = args.copied();
    for key in [
        "src",
        "newline_sequence",
        "trim_blocks",
        "lstrip_blocks",
        "block_start_string",
        "block_end_string",
        "variable_start_string",
        "variable_end_string",
        "comment_start_string",
        "comment_end_string",
        "output_encoding",
    ] {
        call.remove(key);
    }
    let mode = fs::metadata(&path).map_or(0o644, |m| m.mode() & 0o7777);
    let encoding = text(args, "output_encoding").filter(|name| !name.is_empty());
    let encoding = encoding.unwrap_or_else(|| "utf-8".into());
    let bytes = encoding::encode(&encoding, &rendered).map_err(fail)?;
    let bytes =
        bytes.ok_or_else(|| fail(format!("the text of '{src}' has letters that {encoding} has not")))?;
    call.set("_data", encode(&bytes));
    call.set(
        "_original_basename",
        path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    );
    call.set("_source_mode", mode);
    let result = module(modules, "copy", &call)?;
    if result.get("changed").is_some_and(|c| c.is_true()) && !result.contains("src") {
        result.set("src", path.display().to_string());
    }
    Ok(result)
}

pub(super) fn copy(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let content = args.get("content").filter(|content| !content.is_none());
    let src = text(args, "src").filter(|src| !src.is_empty());
    let dest = text(args, "dest").filter(|dest| !dest.is_empty());
    match (&src, &content, &dest) {
        (None, None, _) => return Err(fail("src (or content) is required")),
        (_, _, None) => return Err(fail("dest is required")),
        (Some(_), Some(_), _) => return Err(fail("src and content are mutually exclusive")),
        (_, Some(_), Some(dest)) if dest.ends_with('/') => {
            return Err(fail("can not use content with a dir as dest"));
        }
        _ => {}
    }
    if flag(args, "remote_src") {
        return module(modules, "copy", args);
    }
    let call = args.copied();
    if let Some(content) = content {
        // Structures become JSON, as in Ansible.
        call.remove("content");
        call.set("_data", encode(bakery_modules::args::text(&content).as_bytes()));
        let result = module(modules, "copy", &call)?;
        if result.get("changed").is_some_and(|changed| changed.is_true()) {
            // Ansible says where it had put the text meanwhile, which is no more when the task has ended.
            let dest = dest.unwrap_or_default();
            let ending = Path::new(&dest).extension().map(|e| format!(".{}", e.to_string_lossy()));
            result.set("src", format!("~/.ansible/tmp/.source{}", ending.unwrap_or_default()));
        }
        return Ok(result);
    }
    let src = src.unwrap_or_default();
    call.remove("src");
    let Some(path) = templar.find_file("files", &src) else {
        if modules.controller_file(Path::new(&src)).is_none() {
            return Err(fail(format!(
                "Could not find or access '{src}' on the Ansible Controller.\nIf you are using a module and expect the file to exist on the remote, see the remote_src option"
            )));
        }
        call.set("_data", encode(&source(Path::new(&src), args, modules)?));
        call.set("_original_basename", src.rsplit('/').next().unwrap_or(&src));
        return module(modules, "copy", &call);
    };
    if path.is_dir() {
        return super::folder::copy(&src, &path, &call, modules);
    }
    carry(&call, &path, args, modules)?;
    call.set(
        "_original_basename",
        path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
    );
    call.set("_source_mode", fs::metadata(&path).map_or(0o644, |m| m.mode() & 0o7777));
    let result = module(modules, "copy", &call)?;
    if result.get("changed").is_some_and(|changed| changed.is_true()) && !result.contains("src") {
        // Ansible says where the file was on the target before it got its name; it has no other place here.
        result.set("src", path.display().to_string());
    }
    Ok(result)
}

pub(super) fn unarchive(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let copy = args.get("copy").is_none_or(|v| bakery_modules::args::boolean(&v).unwrap_or(true));
    let src = text(args, "src").unwrap_or_default();
    if flag(args, "remote_src") || !copy || src.contains("://") {
        return without_login(&src, module(modules, "unarchive", args));
    }
    let call = args.copied();
    let path = templar.find_file("files", &src).unwrap_or_else(|| PathBuf::from(&src));
    if !path.exists() && modules.controller_file(&path).is_none() {
        return Err(fail(format!("Could not find or access '{src}' on the Ansible Controller.")));
    }
    carry(&call, &path, args, modules)?;
    module(modules, "unarchive", &call)
}

/// What came of an address, without the name and password that may be in it.
fn without_login(address: &str, outcome: Outcome) -> Outcome {
    let server = address.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    let Some((login, _)) = server.and_then(|server| server.rsplit_once('@')) else { return outcome };
    let hidden = |map: Map| masked(&map.into(), &format!("{login}@")).as_map().cloned().unwrap_or_default();
    match outcome {
        Ok(result) => Ok(hidden(result)),
        Err(Trouble::Failed(result, why)) => Err(Trouble::Failed(hidden(result), why)),
        Err(other) => Err(other),
    }
}

fn masked(value: &Value, secret: &str) -> Value {
    match value {
        Value::Str(text) => text.as_str().replace(secret, "********:********@").into(),
        Value::List(items) => Value::list(items.items().iter().map(|item| masked(item, secret)).collect()),
        Value::Map(map) => {
            map.pairs().into_iter().map(|(key, value)| (key, masked(&value, secret))).collect::<Map>().into()
        }
        other => other.clone(),
    }
}

/// A patch of the controller travels in the call (ansible.posix `plugins/action/patch.py`).
pub(super) fn patch(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let Some(src) = text(args, "src").or_else(|| text(args, "patchfile")) else {
        return Err(fail("src is required"));
    };
    if flag(args, "remote_src") {
        return module(modules, "patch", args);
    }
    let path = templar.find_file("files", &src).unwrap_or_else(|| PathBuf::from(&src));
    let bytes = modules.controller_file(&path).or_else(|| fs::read(&path).ok());
    let Some(bytes) = bytes else {
        return Err(fail(format!("Could not find or access '{src}' on the Ansible Controller.")));
    };
    let call = args.copied();
    call.set("_content", encode(&bytes));
    module(modules, "patch", &call)
}

/// Fragments of the controller travel in the call (`ansible/plugins/action/assemble.py`).
pub(super) fn assemble(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let remote = args.get("remote_src").is_none_or(|v| bakery_modules::args::boolean(&v).unwrap_or(true));
    if remote {
        return module(modules, "assemble", args);
    }
    let src = text(args, "src")
        .filter(|_| args.contains("dest"))
        .ok_or_else(|| fail("src and dest are required"))?;
    let folder = templar
        .find_file("files", &src)
        .ok_or_else(|| fail(format!("Could not find or access '{src}' on the Ansible Controller.")))?;
    if !folder.is_dir() {
        return Err(fail(format!("Source ({}) is not a directory", folder.display())));
    }
    let fragments = Map::new();
    for path in fs::read_dir(&folder).map_err(|e| fail(e.to_string()))?.into_iter().filter(|p| p.is_file()) {
        let bytes = source(&path, args, modules)?;
        fragments.set(
            &path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            encode(&bytes),
        );
    }
    let call = args.copied();
    call.set("_fragments", fragments);
    module(modules, "assemble", &call)
}

pub(super) fn script(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let line = text(args, "_raw_params")
        .or_else(|| text(args, "cmd"))
        .ok_or_else(|| fail("one of the following is required: _raw_params, cmd"))?;
    // As `script.py` does: what has been done already is skipped, not run and found done.
    for (key, there) in [("creates", true), ("removes", false)] {
        let Some(path) = text(args, key) else { continue };
        let look = Map::new();
        look.set("path", path.as_str());
        let exists = module(modules, "stat", &look)?.get("stat").and_then(|s| s.get("exists"));
        if exists.is_some_and(|e| e.is_true()) == there {
            let result = ok();
            result.set("skipped", true);
            result.set(
                "msg",
                format!("{path} {}, matching {key} option", if there { "exists" } else { "does not exist" }),
            );
            return Ok(result);
        }
    }
    let words = crate::playbook::split_args(&line);
    let name = words.first().map(|w| w.trim_matches(['"', '\'']).to_owned()).unwrap_or_default();
    let path = templar
        .find_file("files", &name)
        .ok_or_else(|| fail(format!("Could not find or access '{name}'")))?;
    let bytes = source(&path, args, modules)?;
    let place = Map::new();
    place.set("state", "file");
    place.set(
        "suffix",
        format!("-{}", path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()),
    );
    let made = module(modules, "tempfile", &place)?;
    let remote = made.get("path").map_or_else(|| "/tmp/bakery-script".into(), |p| p.to_string());
    let send = Map::new();
    send.set("dest", remote.as_str());
    send.set("_data", encode(&bytes));
    send.set("mode", "0700");
    module(modules, "copy", &send)?;
    let call = Map::new();
    for key in ["chdir", "creates", "removes"] {
        if let Some(value) = args.get(key) {
            call.set(key, value);
        }
    }
    let program = text(args, "executable").map_or(String::new(), |e| format!("{e} "));
    call.set("_raw_params", format!("{program}{remote} {}", words[1..].join(" ")));
    call.set("strip_empty_ends", false);
    let result = module(modules, "shell", &call);
    // What the plugin `script` answers is what the connection said, without a module's times.
    if let Ok(result) = &result {
        for key in ["cmd", "start", "end", "delta", "msg"] {
            result.remove(key);
        }
    }
    let remove = Map::new();
    remove.set("path", remote);
    remove.set("state", "absent");
    module(modules, "file", &remove)?;
    result
}

/// A request may send a file of the controller.
pub(super) fn uri(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    if flag(args, "remote_src") {
        return module(modules, "uri", args);
    }
    let read = |name: &str| {
        let path = templar.find_file("files", name).ok_or_else(|| {
            fail(format!(
                "Could not find or access '{name}'; it is searched in the role's and the playbook's files"
            ))
        })?;
        fs::read(&path).map(|bytes| encode(&bytes)).map_err(|e| fail(e.to_string()))
    };
    let call = args.copied();
    if let Some(src) = text(args, "src") {
        call.remove("src");
        call.set("_data", read(&src)?);
    }
    // Files of a form are the controller's, too.
    if let (Some("form-multipart"), Some(Value::Map(fields))) =
        (text(args, "body_format").as_deref(), args.get("body"))
    {
        let fields = fields.copied();
        for (name, value) in fields.pairs() {
            let Value::Map(part) = value else { continue };
            let content = text(&part, "content").filter(|content| !content.is_empty());
            if let (Some(file), None) = (text(&part, "filename"), content) {
                let part = part.copied();
                part.set("_data", read(&file)?);
                fields.insert(name, part.into());
            }
        }
        call.set("body", fields);
    }
    module(modules, "uri", &call)
}
