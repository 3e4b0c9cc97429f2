//! `galaxy`: roles of requirements files.

use bakery_events::exit;

use super::Outcome;
use crate::cli::GalaxyVerb;
use crate::terminal::{self, Terminal};

pub(crate) fn galaxy(verb: &GalaxyVerb, terminal: &Terminal) -> Outcome {
    match verb {
        GalaxyVerb::Install(args) => {
            let done =
                bakery_galaxy::install(&args.requirements, &args.path.roles_path, args.force, terminal)?;
            terminal.settle();
            for role in done {
                terminal::say(&format!(
                    "- {} ({}) was installed successfully",
                    role.name,
                    role.version.or(role.commit).unwrap_or_else(|| "unversioned".into())
                ));
            }
            Ok(exit::OK)
        }
        GalaxyVerb::List(path) => {
            terminal::say(&format!("# {}", path.roles_path.display()));
            for role in bakery_galaxy::list(&path.roles_path)? {
                terminal::say(&format!(
                    "- {}, {}",
                    role.name,
                    role.version.unwrap_or_else(|| "(unknown version)".into())
                ));
            }
            Ok(exit::OK)
        }
        GalaxyVerb::Remove { name, path } => {
            bakery_galaxy::remove(&path.roles_path, name)?;
            terminal::say(&format!("- successfully removed {name}"));
            Ok(exit::OK)
        }
    }
}
