//! `nexus plugin dev`: builds a plugin whenever its files change, and has a server take it over.

mod project;
mod watch;

use std::{path::Path, time::Duration};

use nexus_model::PluginName;
use reqwest::header;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use self::{project::Project, watch::Watch};
use super::{
    super::{
        args::{Become, Dev},
        client::Client,
        failure::Failure,
        output::Output,
    },
    Given, Put, path, told,
};
use crate::PluginView;

/// The longest that a build is waited for: the first one of a crate brings and builds all that it is made of.
const BUILD: Duration = Duration::from_mins(15);
/// The longest that the server is waited for, which compiles the component to machine code.
const SERVER: Duration = Duration::from_mins(6);

/// Goes on until somebody ends it. What fails is shown, and tried again on the next change.
pub(super) async fn run(wanted: &Dev, output: Output) -> Result<(), Failure> {
    let dir = std::fs::canonicalize(&wanted.dir)
        .map_err(|source| Failure::Unreadable { path: wanted.dir.clone(), source })?;
    let name = name(wanted.name.as_ref(), &dir)?;
    let project = Project::of(&dir, wanted.build.as_deref(), wanted.component.as_deref())?;
    let mut what = wanted.what.clone();
    what.wit = what.wit.or_else(|| Some(dir.join("wit")).filter(|wit| wit.is_dir()));
    let client = Client::new(&what.connection)?;
    let mut stop = Stop::new()?;
    let mut watch = Watch::new(&dir, project.component())?;
    let mut built = None;
    output.note(&format!("{}: built and taken over on every change; Ctrl-C ends it", dir.display()));
    loop {
        let files = watch.files()?;
        if built.as_ref() != Some(&files) {
            built = Some(files);
            tokio::select! {
                taken = take_over(&client, &project, &what, &name, output) => if let Err(failure) = taken {
                    failure.show(output);
                    output.note("the next change builds it again");
                },
                () = stop.asked() => return Ok(()),
            }
        }
        tokio::select! {
            () = watch.changed() => {}
            () = stop.asked() => return Ok(()),
        }
    }
}

/// The name that is given, or else that of the folder.
fn name(given: Option<&PluginName>, dir: &Path) -> Result<PluginName, Failure> {
    let folder = || dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    given.cloned().or_else(folder).ok_or_else(|| {
        let message = format!("the name of `{}` cannot be that of a plugin", dir.display());
        Failure::usage(message, "give one with --name: 1 to 63 of a-z, 0-9 and `-`, beginning with a letter")
    })
}

async fn take_over(
    client: &Client,
    project: &Project,
    what: &Become,
    name: &PluginName,
    output: Output,
) -> Result<(), Failure> {
    output.note(&format!("{name}: it is built"));
    let file = within(BUILD, "the build", project.build()).await?;
    let component = std::fs::read(&file).map_err(|source| Failure::Unreadable { path: file, source })?;
    output.note(&format!("{name}: the server takes it over"));
    within(SERVER, "the server", put(client, component, what, name, output)).await
}

/// Adds the plugin, or updates it where it is there already.
async fn put(
    client: &Client,
    component: Vec<u8>,
    what: &Become,
    name: &PluginName,
    output: Output,
) -> Result<(), Failure> {
    let name = name.as_str();
    let request = Put::new(what, name, Given { component, source: None })?;
    let (condition, done) = match client.get::<PluginView>(&path(&what.app, name)).await {
        Ok(_) => (header::IF_MATCH, "updated"),
        Err(Failure::Answer(problem)) if problem.code == "unknown_plugin" => (header::IF_NONE_MATCH, "added"),
        Err(failure) => return Err(failure),
    };
    let written = request.send(client, (condition, "*"), false).await?;
    told(&written, name, done, output);
    Ok(())
}

/// Waits for something so long and no longer.
async fn within<T>(limit: Duration, who: &str, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let message = format!("{who} took more than {} s and is not waited for any longer", limit.as_secs());
        Err(Failure::usage(message, "end this program and see by hand what holds it up"))
    })
}

/// Hears that the program is to end, also while nobody listens.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(Failure::Runtime);
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn nothing_is_waited_for_without_end() {
        let failure = within(Duration::from_millis(1), "the build", pending::<Result<(), _>>()).await.unwrap_err();
        assert!(failure.to_string().starts_with("the build took more than"), "{failure}");
        assert!(within(BUILD, "the build", async { Ok(()) }).await.is_ok());
    }
}
