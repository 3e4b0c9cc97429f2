//! The `ansible-vault` command (`ansible/cli/vault.py`).

use std::io::{Read as _, Write};
use std::path::Path;

use bakery_ansible::vault::{self as vaults, Secret, Sources};
use bakery_ansible::{Error, Settings};
use bakery_events::exit;
use bakery_host::{Cmd, fs};
use bakery_lang::Value;
use clap::{ArgAction, Args, Subcommand};

use crate::Colour;

/// Encrypts and decrypts files and values.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  bakery vault encrypt --vault-id prod@prompt secrets.yml\n  bakery vault encrypt_string --vault-password-file pw --name db_password s3cret"
)]
pub struct VaultArgs {
    /// What to do
    #[command(subcommand)]
    pub verb: VaultVerb,
}

/// Passwords, and how much is said.
#[derive(Debug, Clone, Args)]
pub struct Passwords {
    /// A password under a vault id: `id@file`, or `id@prompt`
    #[arg(long, value_name = "ID")]
    vault_id: Vec<String>,
    /// A file with a password, or a program that prints it
    #[arg(long, alias = "vault-pass-file", value_name = "FILE")]
    vault_password_file: Vec<String>,
    /// Ask for the password
    #[arg(short = 'J', long, alias = "ask-vault-password")]
    ask_vault_pass: bool,
    /// Say more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// What can be done with vaults.
#[derive(Debug, Clone, Subcommand)]
pub enum VaultVerb {
    /// Write a new vault in an editor
    Create {
        file: String,
        #[arg(long)]
        encrypt_vault_id: Option<String>,
        /// Open the editor without a terminal, too
        #[arg(long)]
        skip_tty_check: bool,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Decrypt files
    Decrypt {
        files: Vec<String>,
        /// Where to; `-` is standard output
        #[arg(long)]
        output: Option<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Change vaults in an editor
    Edit {
        files: Vec<String>,
        #[arg(long)]
        encrypt_vault_id: Option<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Show vaults
    View {
        files: Vec<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Encrypt files
    Encrypt {
        files: Vec<String>,
        /// Where to; `-` is standard output
        #[arg(long)]
        output: Option<String>,
        #[arg(long)]
        encrypt_vault_id: Option<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Encrypt values for use in YAML
    #[command(name = "encrypt_string")]
    EncryptString {
        texts: Vec<String>,
        /// Where to; `-` is standard output
        #[arg(long)]
        output: Option<String>,
        /// The variable's name
        #[arg(short, long)]
        name: Vec<String>,
        /// The name of the variable that is read from standard input
        #[arg(long)]
        stdin_name: Option<String>,
        /// Ask for the text
        #[arg(short, long)]
        prompt: bool,
        /// Show the text while it is typed
        #[arg(long)]
        show_input: bool,
        #[arg(long)]
        encrypt_vault_id: Option<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
    /// Encrypt vaults with another password
    Rekey {
        files: Vec<String>,
        #[arg(long)]
        new_vault_password_file: Option<String>,
        #[arg(long, conflicts_with = "new_vault_password_file")]
        new_vault_id: Option<String>,
        #[arg(long)]
        encrypt_vault_id: Option<String>,
        #[command(flatten)]
        passwords: Passwords,
    },
}

/// Runs the command; the exit code is Ansible's.
pub fn vault(
    args: &VaultArgs,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    colour: Colour,
) -> i32 {
    let mut warnings = Vec::new();
    let done = run(&args.verb, out, err, &mut warnings);
    for warning in warnings {
        // Nothing else can be done when stderr is gone.
        let _ = writeln!(err, "{}", colour.purple(&format!("[WARNING]: {warning}")));
    }
    match done {
        Ok(()) => exit::OK,
        Err(error) => {
            let _ = writeln!(err, "{}", colour.red(&format!("[ERROR]: {}", error.diagnostic)));
            error.code
        }
    }
}

fn options(text: impl Into<String>) -> Error {
    Error { code: exit::BAD_OPTIONS, ..Error::message(text) }
}

fn secrets(
    passwords: &Passwords,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<Vec<Secret>, Error> {
    if let Some(id) = passwords.vault_id.iter().find(|id| id.contains(';')) {
        return Err(options(format!(
            "'{id}' is not a valid vault id. The character ';' is not allowed in vault ids"
        )));
    }
    let given = Sources {
        ids: passwords.vault_id.clone(),
        files: passwords.vault_password_file.clone(),
        ask: passwords.ask_vault_pass,
    };
    let mut found = Secret::load(&given, settings, warnings)?;
    if found.is_empty() {
        found = Secret::load(&Sources { ask: true, ..given }, settings, warnings)?;
    }
    if found.is_empty() {
        return Err(options("A vault password is required to use Ansible's Vault"));
    }
    Ok(found)
}

/// The password to encrypt with.
fn chosen<'a>(secrets: &'a [Secret], id: Option<&str>, settings: &Settings) -> Result<&'a Secret, Error> {
    let configured = settings.text("ANSIBLE_VAULT_ENCRYPT_IDENTITY", "defaults", "vault_encrypt_identity");
    // Python's way of showing a list.
    let known = || Value::strings(secrets.iter().map(|s| &s.id)).to_string();
    match id.map(str::to_owned).or(configured) {
        Some(id) => secrets.iter().find(|s| s.id == id).ok_or_else(|| {
            Error::message(format!(
                "Did not find a match for --encrypt-vault-id={id} in the known vault-ids {}",
                known()
            ))
        }),
        None if secrets.len() > 1 => Err(options(format!(
            "The vault-ids {} are available to encrypt. Specify the vault-id to encrypt with --encrypt-vault-id",
            known()
        ))),
        None => secrets.first().ok_or_else(|| options("A vault password is required to use Ansible's Vault")),
    }
}

fn read(file: &str) -> Result<Vec<u8>, Error> {
    if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(|e| Error::message(e.to_string()))?;
        return Ok(bytes);
    }
    Ok(fs::read(file)?)
}

/// Writes to a file that only its owner reads, or to standard output.
fn write(file: &str, bytes: &[u8], out: &mut (dyn Write + Send)) -> Result<(), Error> {
    if file == "-" {
        return out.write_all(bytes).map_err(|e| Error::message(e.to_string()));
    }
    use std::os::unix::fs::PermissionsExt as _;
    // What a link points to is changed, not the link.
    let path = fs::canonicalize(file).unwrap_or_else(|_| file.into());
    let mode = std::fs::metadata(&path).map_or(0o600, |m| m.permissions().mode() & 0o7777);
    Ok(fs::write_atomic_mode(&path, bytes, mode)?)
}

fn open<'a>(
    bytes: &[u8],
    secrets: &'a [Secret],
    settings: &Settings,
    file: &str,
) -> Result<(Vec<u8>, &'a Secret), Error> {
    let match_id = settings.flag("ANSIBLE_VAULT_ID_MATCH", "defaults", "vault_id_match", false);
    let trimmed = bytes.trim_ascii_start();
    vaults::open(trimmed, secrets, match_id)
        .map_err(|e| Error::message(format!("{} for {file}", e.diagnostic.message)))
}

fn or_stdin(files: &[String]) -> Vec<String> {
    if files.is_empty() { vec!["-".into()] } else { files.to_vec() }
}

fn run(
    verb: &VaultVerb,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    warnings: &mut Vec<String>,
) -> Result<(), Error> {
    let settings = Settings::load();
    let salt = settings.text("ANSIBLE_VAULT_ENCRYPT_SALT", "defaults", "vault_encrypt_salt");
    let encrypt =
        |plain: &[u8], secret: &Secret| vaults::encrypt(plain, secret, Some(&secret.id), salt.as_deref());
    let one_output = |files: &[String], output: &Option<String>| {
        if output.is_some() && files.len() > 1 {
            return Err(options("At most one input file may be used with the --output option"));
        }
        Ok(())
    };
    match verb {
        VaultVerb::View { files, passwords } => {
            let secrets = secrets(passwords, &settings, warnings)?;
            for file in files {
                out.write_all(&open(&read(file)?, &secrets, &settings, file)?.0)
                    .map_err(|e| Error::message(e.to_string()))?;
            }
        }
        VaultVerb::Decrypt { files, output, passwords } => {
            one_output(files, output)?;
            let secrets = secrets(passwords, &settings, warnings)?;
            for file in or_stdin(files) {
                let (plain, _) = open(&read(&file)?, &secrets, &settings, &file)?;
                write(output.as_deref().unwrap_or(&file), &plain, out)?;
            }
        }
        VaultVerb::Encrypt { files, output, encrypt_vault_id, passwords } => {
            one_output(files, output)?;
            let secrets = secrets(passwords, &settings, warnings)?;
            let secret = chosen(&secrets, encrypt_vault_id.as_deref(), &settings)?;
            for file in or_stdin(files) {
                let plain = read(&file)?;
                if vaults::is_encrypted(&plain) {
                    return Err(Error::message("input is already encrypted"));
                }
                let made = encrypt(&plain, secret)?;
                write(output.as_deref().unwrap_or(&file), made.as_bytes(), out)?;
            }
        }
        VaultVerb::Rekey { files, new_vault_password_file, new_vault_id, encrypt_vault_id, passwords } => {
            let old = secrets(passwords, &settings, warnings)?;
            let given = Sources {
                ids: new_vault_id.iter().cloned().collect(),
                files: new_vault_password_file.iter().cloned().collect(),
                ask: new_vault_id.is_none() && new_vault_password_file.is_none(),
            };
            // What settings name is not the new password, unless it is asked for by its id.
            let plain_settings = Settings::default();
            let wanted = if encrypt_vault_id.is_some() { &settings } else { &plain_settings };
            let new = Secret::load(&given, wanted, warnings)?;
            let secret = match encrypt_vault_id {
                Some(id) => chosen(&new, Some(id), &settings)?,
                None => new.last().ok_or_else(|| {
                    options("A new vault password is required to use Ansible's Vault rekey")
                })?,
            };
            for file in files {
                let (plain, _) = open(&read(file)?, &old, &settings, file)?;
                let made = encrypt(&plain, secret)?;
                write(file, made.as_bytes(), out)?;
            }
            let _ = writeln!(err, "Rekey successful");
        }
        VaultVerb::Edit { files, encrypt_vault_id, passwords } => {
            let secrets = secrets(passwords, &settings, warnings)?;
            for file in files {
                let before = read(file)?;
                let (plain, fitting) = open(&before, &secrets, &settings, file)?;
                let id = String::from_utf8_lossy(&before)
                    .lines()
                    .next()
                    .and_then(|l| l.split(';').nth(3).map(str::to_owned));
                // Another password only if it is asked for; the vault keeps its id, or goes on without one.
                let (secret, id) = match encrypt_vault_id {
                    Some(id) => (chosen(&secrets, Some(id), &settings)?, Some(id.clone())),
                    None => (fitting, id),
                };
                let after = edited(&plain)?;
                if after != plain {
                    let made = vaults::encrypt(&after, secret, id.as_deref(), salt.as_deref())?;
                    write(file, made.as_bytes(), out)?;
                }
            }
        }
        VaultVerb::Create { file, encrypt_vault_id, skip_tty_check, passwords } => {
            use std::io::IsTerminal as _;
            let secrets = secrets(passwords, &settings, warnings)?;
            let secret = chosen(&secrets, encrypt_vault_id.as_deref(), &settings)?;
            if !skip_tty_check && !std::io::stdout().is_terminal() {
                return Err(options("not a tty, editor cannot be opened"));
            }
            if Path::new(file).exists() {
                return Err(Error::message(format!("{file} exists, please use 'edit' instead")));
            }
            let plain = edited(b"")?;
            write(file, encrypt(&plain, secret)?.as_bytes(), out)?;
        }
        VaultVerb::EncryptString {
            texts,
            output,
            name,
            stdin_name,
            prompt,
            show_input,
            encrypt_vault_id,
            passwords,
        } => {
            let reads = texts.iter().any(|t| t == "-") || stdin_name.is_some() || texts.is_empty() && !prompt;
            if *prompt && reads {
                return Err(options("The --prompt option is not supported if also reading input from stdin"));
            }
            let secrets = secrets(passwords, &settings, warnings)?;
            let secret = chosen(&secrets, encrypt_vault_id.as_deref(), &settings)?;
            let mut all: Vec<(Option<String>, Vec<u8>)> = Vec::new();
            if *prompt {
                let asked = |text: &str, echo: bool| {
                    bakery_host::terminal::ask(text, echo).map_err(|e| Error::message(e.to_string()))
                };
                let name =
                    Some(asked("Variable name (enter for no name): ", true)?).filter(|n| !n.is_empty());
                let text = asked("String to encrypt: ", *show_input)?;
                if text.is_empty() {
                    return Err(options("The plaintext provided from the prompt was empty, not encrypting"));
                }
                all.push((name, text.into_bytes()));
            }
            if reads {
                let text = read("-")?;
                if text.is_empty() {
                    return Err(options("stdin was empty, not encrypting"));
                }
                all.push((stdin_name.clone(), text));
            }
            for (at, text) in texts.iter().filter(|t| *t != "-").enumerate() {
                if text.is_empty() {
                    return Err(options(
                        "The plaintext provided from the command line args was empty, not encrypting",
                    ));
                }
                all.push((name.get(at).cloned(), text.clone().into_bytes()));
            }
            let mut made = String::new();
            for (name, text) in &all {
                let head = name.as_ref().map(|n| format!("{n}: ")).unwrap_or_default();
                made.push_str(&format!("{head}!vault |\n"));
                for line in encrypt(text, secret)?.lines() {
                    made.push_str(&format!("          {line}\n"));
                }
            }
            write(output.as_deref().unwrap_or("-"), made.as_bytes(), out)?;
        }
    }
    Ok(())
}

/// What an editor makes of a text; the file is nobody else's, and goes.
fn edited(text: &[u8]) -> Result<Vec<u8>, Error> {
    let failed = |e: std::io::Error| Error::message(e.to_string());
    let mut file = tempfile::Builder::new().suffix(".yml").tempfile().map_err(failed)?;
    file.write_all(text).and_then(|()| file.flush()).map_err(failed)?;
    let editor = std::env::var("EDITOR").unwrap_or_else(|_| "vi".into());
    let mut words = editor.split_whitespace();
    let code = Cmd::new(words.next().unwrap_or("vi")).args(words).arg(file.path()).status()?;
    if code != 0 {
        return Err(Error::message(format!(
            "the editor `{editor}` ended with exit code {code}; nothing was changed"
        )));
    }
    Ok(fs::read(file.path())?)
}
