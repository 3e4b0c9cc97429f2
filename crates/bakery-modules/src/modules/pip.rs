//! `pip`: Python packages (`ansible/modules/pip.py`).

use std::cmp::Ordering;

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Installs and removes Python packages, for the system or in a virtual environment.
#[derive(ModuleArgs)]
#[args(one_of = "name,requirements", exclusive = "name,requirements", exclusive = "executable,virtualenv")]
struct Args {
    /// Packages, with versions as pip writes them, or addresses.
    name: Option<Vec<String>>,
    /// The version of a single package.
    version: Option<String>,
    /// A file that lists packages.
    requirements: Option<String>,
    /// What shall be.
    #[arg(default = "present", choices = "absent,forcereinstall,latest,present")]
    state: String,
    /// The virtual environment; made when missing.
    virtualenv: Option<String>,
    /// Whether a new environment sees the system's packages.
    virtualenv_site_packages: bool,
    /// What makes environments.
    #[arg(default = "virtualenv")]
    virtualenv_command: String,
    /// The interpreter of a new environment.
    virtualenv_python: Option<String>,
    /// More options for pip.
    extra_args: Option<String>,
    /// Whether packages are installed in place.
    editable: bool,
    /// The folder to work in.
    chdir: Option<String>,
    /// The pip to run.
    executable: Option<String>,
    /// The mask of new files' modes, in octal.
    umask: Option<String>,
    /// Whether packages of the system's own package manager may be overwritten.
    break_system_packages: bool,
}

const OPERATORS: &[&str] = &["===", "==", "!=", ">=", "<=", "~=", ">", "<"];

/// Names that were split at the commas of their versions, whole again: `a>=1,<2`.
fn whole(names: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for name in names.iter().flat_map(|name| name.split(',')).map(str::trim) {
        let goes_on = OPERATORS.iter().any(|o| name.starts_with(o));
        let open = out.last().is_some_and(|last| last.matches('[').count() > last.matches(']').count());
        match out.last_mut() {
            Some(last) if goes_on || open => {
                last.push(',');
                last.push_str(name);
            }
            _ => out.push(name.to_owned()),
        }
    }
    out
}

fn is_repository(name: &str) -> bool {
    ["svn+", "git+", "hg+", "bzr+"].iter().any(|scheme| name.to_lowercase().starts_with(scheme))
}

/// The name as indexes compare it, and the versions that are asked for.
fn parts(package: &str) -> (String, Vec<(&str, String)>) {
    let at = package.find(['=', '!', '<', '>', '~', '[', ';', ' ']).unwrap_or(package.len());
    let name: String = package[..at].to_lowercase().replace(['_', '.'], "-");
    let rest = package[at..].trim_start();
    let rest = if rest.starts_with('[') { rest.split_once(']').map_or("", |(_, r)| r) } else { rest };
    let rest = rest.split(';').next().unwrap_or_default();
    let wanted = rest.split(',').filter_map(|part| {
        let part = part.trim();
        let operator = OPERATORS.iter().find(|o| part.starts_with(**o))?;
        Some((*operator, part[operator.len()..].trim().to_owned()))
    });
    (name, wanted.collect())
}

/// Compares versions part by part: numbers as numbers, and what has letters before what has none.
fn compare(a: &str, b: &str) -> Ordering {
    let split = |v: &str| -> Vec<String> {
        let v = v.trim_start_matches('v').split('+').next().unwrap_or_default();
        v.split('.').map(str::to_owned).collect()
    };
    let (a, b) = (split(a), split(b));
    for at in 0..a.len().max(b.len()) {
        let get = |v: &[String]| v.get(at).cloned().unwrap_or_else(|| "0".into());
        let (x, y) = (get(&a), get(&b));
        let number = |s: &str| {
            let digits: String = s.chars().take_while(char::is_ascii_digit).collect();
            (digits.parse::<u64>().unwrap_or(0), digits.len() == s.len(), s.to_owned())
        };
        let order = number(&x).cmp(&number(&y));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn satisfied(version: &str, wanted: &[(&str, String)]) -> bool {
    wanted.iter().all(|(operator, other)| {
        let order = compare(version, other);
        let prefix = |p: &str| version == p || version.starts_with(&format!("{p}."));
        match *operator {
            "==" | "===" => other.strip_suffix(".*").map_or(order == Ordering::Equal, prefix),
            "!=" => other.strip_suffix(".*").map_or(order != Ordering::Equal, |p| !prefix(p)),
            ">=" => order != Ordering::Less,
            "<=" => order != Ordering::Greater,
            ">" => order == Ordering::Greater,
            "<" => order == Ordering::Less,
            _ => order != Ordering::Less && other.rsplit_once('.').is_some_and(|(head, _)| prefix(head)),
        }
    })
}

/// What is to be run as pip.
fn program(args: &Args, host: &Host, env: Option<&str>) -> Result<Vec<String>, Failure> {
    if let Some(env) = env {
        let found = ["pip3", "pip"].iter().map(|p| format!("{env}/bin/{p}"));
        return found
            .filter(|p| std::path::Path::new(p).exists())
            .map(|p| vec![p])
            .next()
            .ok_or_else(|| Failure::new(format!("Unable to find pip in the virtualenv, {env}, under any of these names: pip3, pip. Make sure pip is present in the virtualenv.")));
    }
    if let Some(executable) = &args.executable {
        return Ok(vec![if executable.contains('/') {
            host.path(executable).display().to_string()
        } else {
            executable.clone()
        }]);
    }
    if let Some(python) = bakery_host::command::find_program("python3") {
        let python = python.display().to_string();
        if host.try_run(&[python.as_str(), "-m", "pip", "--version"])?.success() {
            return Ok(vec![python, "-m".into(), "pip".into()]);
        }
    }
    let found = ["pip3", "pip"].iter().find_map(|p| bakery_host::command::find_program(p));
    found
        .map(|p| vec![p.display().to_string()])
        .ok_or_else(|| Failure::new("Unable to find any of pip3 to use.  pip needs to be installed."))
}

/// Makes a virtual environment.
fn make_environment(args: &Args, host: &Host, env: &str) -> Result<String, Failure> {
    let mut argv = super::command::split_line(&args.virtualenv_command)?;
    let own = argv.iter().any(|w| w.ends_with("venv") || w == "venv");
    if bakery_host::command::find_program(&argv[0]).is_none() && !std::path::Path::new(&argv[0]).exists() {
        return Err(Failure::new(format!("Failed to find required executable \"{}\"", argv[0])));
    }
    if args.virtualenv_site_packages {
        argv.push("--system-site-packages".into());
    }
    match &args.virtualenv_python {
        Some(_) if own => {
            return Err("virtualenv_python should not be used when using the venv module or pyvenv as virtualenv_command".into());
        }
        Some(python) => argv.push(format!("-p{python}")),
        None if !own && bakery_host::command::find_program("python3").is_some() => {
            argv.push("-ppython3".into());
        }
        None => {}
    }
    argv.push(env.to_owned());
    Ok(host.run(&argv)?.text())
}

fn run(args: Args, host: &mut Host) -> Run {
    let base = args.chdir.as_deref().map(|c| host.path(c));
    let folder = base.clone().unwrap_or_else(std::env::temp_dir);
    let env = args.virtualenv.as_deref().map(|env| {
        let env = host.path(env);
        base.as_ref().map_or(env.clone(), |base| base.join(env)).display().to_string()
    });
    if args.state == "latest" && args.version.is_some() {
        return Err("version is incompatible with state=latest".into());
    }
    let outer = (host.cwd.replace(folder), host.environment.clone());
    let result = install(&args, host, env.as_deref());
    (host.cwd, host.environment) = outer;
    result
}

fn install(args: &Args, host: &mut Host, env: Option<&str>) -> Run {
    let mut out = String::new();
    let mut made = false;
    if let Some(env) = env {
        if !std::path::Path::new(env).join("bin/activate").exists() {
            if host.check {
                return Ok(Outcome::changed(true));
            }
            out.push_str(&make_environment(args, host, env)?);
            made = true;
        }
        let path = std::env::var("PATH").unwrap_or_default();
        host.environment.push(("PATH".into(), format!("{env}/bin:{path}")));
    }
    if args.break_system_packages {
        host.environment.push(("PIP_BREAK_SYSTEM_PACKAGES".into(), "1".into()));
    }
    let pip = program(args, host, env)?;
    let mut packages = whole(args.name.as_deref().unwrap_or_default());
    if let Some(version) = args.version.as_ref().filter(|version| !version.is_empty()) {
        if packages.len() > 1 {
            return Err("'version' argument is ambiguous when installing multiple package distributions. Please specify version restrictions next to each package in 'name' argument.".into());
        }
        if packages.first().is_some_and(|p| !parts(p).1.is_empty()) {
            return Err("The 'version' argument conflicts with any version specifier provided along with a package name. Please keep the version specifier, but remove the 'version' argument.".into());
        }
        for package in &mut packages {
            let bare = !OPERATORS.iter().any(|o| version.starts_with(o));
            *package = format!("{package}{}{version}", if bare { "==" } else { "" });
        }
    }
    let mut argv = pip.clone();
    let verb: &[&str] = match args.state.as_str() {
        "absent" => &["uninstall", "-y"],
        "latest" => &["install", "-U"],
        "forcereinstall" => &["install", "-U", "--force-reinstall"],
        _ => &["install"],
    };
    argv.extend(verb.iter().map(|&w| w.to_owned()));
    let mut extra = super::command::split_line(args.extra_args.as_deref().unwrap_or_default())?;
    if args.editable && !extra.iter().any(|w| w == "-e") {
        extra.push("-e".into());
    }
    argv.extend(extra.iter().cloned());
    argv.extend(packages.iter().cloned());
    if let Some(requirements) = &args.requirements {
        argv.extend(["-r".to_owned(), requirements.clone()]);
    } else if packages.is_empty() {
        host.warn("No valid name or requirements file found.");
        return Ok(Outcome::unchanged());
    }
    let freeze = || -> Result<(Vec<String>, String), Failure> {
        let list: Vec<String> =
            pip.iter().cloned().chain(["list".into(), "--format=freeze".into()]).collect();
        let text = host.run(&list)?.text();
        Ok((list, text))
    };
    if host.check {
        if !extra.is_empty() || args.requirements.is_some() || args.state == "latest" || packages.is_empty() {
            return Ok(Outcome::changed(true));
        }
        let (list, text) = freeze()?;
        let there = |package: &String| {
            let (name, wanted) = parts(package);
            text.lines()
                .filter_map(|l| l.split_once("=="))
                .any(|(n, v)| parts(n).0 == name && satisfied(v, &wanted))
        };
        let changed = packages.iter().any(|package| match args.state.as_str() {
            "present" => !there(package),
            "absent" => there(package),
            _ => false,
        });
        return Ok(Outcome::changed(changed)
            .with("cmd", list.join(" "))
            .with("stdout", text)
            .with("stderr", ""));
    }
    let by_list = args.requirements.is_some() || packages.iter().any(|p| is_repository(p));
    let before = if by_list { Some(freeze()?.1) } else { None };
    let shell_mask;
    let wanted: &[String] = match &args.umask {
        // The mask is pip's alone.
        Some(mask) => {
            u32::from_str_radix(mask, 8).map_err(|_| Failure::new("umask must be an octal integer"))?;
            let script = format!("umask {mask}; exec \"$@\"");
            shell_mask = ["/bin/sh", "-c", &script, "pip"]
                .iter()
                .map(|w| (*w).to_owned())
                .chain(argv.iter().cloned())
                .collect::<Vec<_>>();
            &shell_mask
        }
        None => &argv,
    };
    let output = host.try_run(wanted)?;
    let (said, wrong) = (output.text(), output.error_text());
    out.push_str(&said);
    let missing =
        args.state == "absent" && (said.contains("not installed") || wrong.contains("not installed"));
    if !output.success() && !missing {
        return Err(Failure::new(format!("stdout: {out}\n:stderr: {wrong}\n"))
            .with("cmd", Value::strings(&argv))
            .with("stdout", out)
            .with("stderr", wrong));
    }
    let changed = match (&before, args.state.as_str()) {
        (_, "absent") => said.contains("Successfully uninstalled"),
        (Some(before), _) => *before != freeze()?.1,
        (None, _) => said.contains("Successfully installed"),
    };
    Ok(Outcome::changed(changed || made)
        .with("cmd", Value::strings(&argv))
        .with("name", args.name.clone().map_or(Value::None, Value::strings))
        .with("version", args.version.clone())
        .with("state", args.state.as_str())
        .with("requirements", args.requirements.clone())
        .with("virtualenv", env.map(str::to_owned))
        .with("stdout", out)
        .with("stderr", wrong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_pip_compares_them() {
        let names = |list: &[&str]| whole(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(names(&["a>=1", "<2", "b[x", "y]==3"]), ["a>=1,<2", "b[x,y]==3"]);
        let fits = |version: &str, package: &str| satisfied(version, &parts(package).1);
        assert!(fits("1.10", "x>=1.9") && !fits("1.10", "x<1.10") && fits("1.4.2", "x~=1.4.1"));
        assert!(
            fits("2.0", "x==2.*") && !fits("20.0", "x==2.*") && fits("1.0", "x==1") && !fits("1.0", "x!=1.0")
        );
        assert_eq!(parts("My_Pkg[extra]>1; python_version>'3'").0, "my-pkg");
    }
}

module!("pip", "ansible.builtin", Args, run);
