//! New settings for a running server: from its file and its environment, below the flags that it
//! was started with.
//!
//! All settings are checked before any is applied, so a file with a mistake changes nothing. The
//! line about the reload names those that need a restart ([`Restart`]).

use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyport_console::Failure;
use anyport_server::{Reload, Service};
use clap::Arg;

use crate::flags::{self, Command};
use crate::layers::{self, Parsed, Setting};
use crate::listen::{Group, Origins};
use crate::setting::Restart;
use crate::{daemon, listen, settings};

/// Reads the settings again and has the server follow them.
#[derive(Debug)]
pub(crate) struct Reloader {
    server: Reload,
    arguments: Vec<OsString>,
    origins: Origins,
    running: Mutex<Running>,
}

/// The settings of a running server.
#[derive(Debug)]
struct Running {
    settings: Vec<Setting>,
    /// The listeners of the start, with their current settings.
    groups: Vec<Group>,
}

impl Reloader {
    pub(crate) fn new(
        server: Reload,
        flags: &flags::Serve,
        parsed: &Parsed,
        origins: Origins,
    ) -> Self {
        let groups = listen::groups(flags, !origins.inherited.is_empty());
        let running = Running { settings: parsed.settings.clone(), groups };
        let arguments = parsed.arguments.clone();
        Self { server, arguments, origins, running: Mutex::new(running) }
    }

    /// Reloads; returns one line about the changes, or why nothing changed. May block for the disk
    /// and for names.
    pub(crate) fn reload(&self) -> Result<String, String> {
        let mut running = self.running();
        let arguments = self.arguments.clone();
        let parsed = layers::parse(arguments, &layers::environment)
            .map_err(|refusal| in_one_line(&refusal.lines()))?;
        let Command::Serve(flags) = &parsed.flags.command else {
            return Err("not a command line of anyport serve".to_owned());
        };
        let Origins { groups, inherited, bound } = &self.origins;
        let mut config = settings::config(flags).map_err(|failure| line(&failure))?;
        listen::check(flags, inherited).map_err(|failure| line(&failure))?;
        let new = listen::groups(flags, !inherited.is_empty());
        let (following, elsewhere) = running.following(new);
        let listener = |(group, (_, service)): (&Option<usize>, &(_, Service))| {
            let common = || listen::common(flags);
            let mut config = group.map_or_else(common, |group| following[group].config.clone());
            config.service = *service;
            config
        };
        let listeners: Vec<_> = groups.iter().zip(bound).map(listener).collect();
        listen::check_bound(flags, bound, &listeners).map_err(|failure| line(&failure))?;
        daemon::apply_file_limit(&mut config);
        self.server.replace(config, listeners);
        running.groups = following;
        Ok(running.changed(parsed.settings, &elsewhere))
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// Returns the present listeners with their new settings, and the flags that now name other
    /// listeners.
    fn following(&self, new: Vec<Group>) -> (Vec<Group>, Vec<&'static str>) {
        let is_bind = |group: &Group| group.flag == listen::BIND;
        let is_there = |old: &&Group, new: &Group| {
            old.flag == new.flag && (is_bind(new) || old.wanted == new.wanted)
        };
        let mut elsewhere = Vec::new();
        for (name, binds) in [("bind", true), ("listen", false)] {
            let wanted = |groups: &[Group]| {
                let of_kind = groups.iter().filter(|group| is_bind(group) == binds);
                let wanted = |group: &Group| (group.flag.clone(), group.wanted.clone(), group.mode);
                of_kind.map(wanted).collect::<Vec<_>>()
            };
            if wanted(&self.groups) != wanted(&new) {
                elsewhere.push(name);
            }
        }
        let (mut following, mut new) = (self.groups.clone(), new);
        for old in &mut following {
            // Each goes to one: two that ask for port 0 are written alike, and are two all the
            // same.
            if let Some(at) = new.iter().position(|new| is_there(&&*old, new)) {
                old.config = new.remove(at).config;
            }
        }
        (following, elsewhere)
    }

    /// Returns the differences in words, and stores the new settings.
    fn changed(&mut self, new: Vec<Setting>, elsewhere: &[&str]) -> String {
        let program = layers::program();
        let arguments = layers::keys(&program, "serve");
        let needs_restart = |argument: &Arg, old: &Setting, new: &Setting| match argument.get() {
            None => false,
            Some(Restart::Always) => true,
            Some(Restart::ToSetOrUnset) => old.values.is_empty() != new.values.is_empty(),
            Some(Restart::ToListenElsewhere) => elsewhere.contains(&new.key.as_str()),
        };
        let (mut changed, mut waits) = (Vec::new(), Vec::new());
        for ((old, new), argument) in self.settings.iter_mut().zip(new).zip(arguments) {
            if old.values == new.values {
                old.source = new.source;
            } else if needs_restart(argument, old, &new) {
                waits.push(new.key);
            } else {
                let shown = match layers::is_secret(argument) {
                    true => "changed".to_owned(),
                    false => format!("is {}, was {}", shown(&new), shown(old)),
                };
                changed.push(format!("{} {shown}", new.key));
                *old = new;
            }
        }
        let mut line = match changed.as_slice() {
            [] => "no setting changed".to_owned(),
            changed => changed.join("; "),
        };
        if !waits.is_empty() {
            line.push_str(&format!("; needs a restart: {}", waits.join(", ")));
        }
        line
    }
}

fn shown(setting: &Setting) -> String {
    match setting.values.as_slice() {
        [] => "not set".to_owned(),
        values => {
            let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
            values.join(" ").replace(char::is_control, " ")
        }
    }
}

fn line(failure: &Failure) -> String {
    anyport_console::reason(failure.error.as_ref())
}

fn in_one_line(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        [only] => only.clone(),
        [first, others @ ..] => format!("{first} (and {} more)", others.len()),
    }
}
