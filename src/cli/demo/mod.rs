//! `posthaste demo`: the whole story on one screen, and a smoke test.
//!
//! # The cast
//!
//! [`server`] is this very program, run as `serve` in a [`folder`] of its own. [`inbox`] is two receivers on loopback,
//! `shop` and `ops`, that verify what they get and remember it. [`api`] asks the server over its unix socket.
//! [`story`] tells what happens up to the held events, [`crash`] the `kill -9` and what comes after; [`screen`] prints.
//!
//! # What it guarantees
//!
//! Only what was observed is printed: attempts come from the API, deliveries from the receivers. What goes otherwise
//! than told ends the demo with an error and exit code 1. The server and the folder are gone at the end, also after
//! Ctrl-C; only a demo that is itself killed with SIGKILL leaves them.

mod api;
mod crash;
mod folder;
mod inbox;
mod limits;
mod screen;
mod server;
mod story;

use super::{
    DemoArgs, Failed,
    output::{Closed, note},
    signals::{first, signals},
};
use folder::Folder;
use screen::Screen;
use story::Story;

pub async fn run(args: DemoArgs) -> anyhow::Result<()> {
    // Before there is anything to clean up.
    let mut signals = signals()?;
    let folder = Folder::create(args.keep)?;
    let screen = Screen::new();
    let told = tokio::select! {
        told = tell(&screen, &folder) => told,
        () = first(&mut signals) => Err(Failed("interrupted; the server is stopped".to_owned()).into()),
    };
    if let Err(error) = &told
        && !error.is::<Closed>()
    {
        folder.last_words().iter().for_each(|line| note(line));
    }
    if args.keep {
        screen.text(&format!("The folder is kept: {}", folder.path().display()))?;
    }
    told
}

async fn tell(screen: &Screen, folder: &Folder) -> anyhow::Result<()> {
    screen.text("posthaste demo: a real server, two receivers on loopback, a temporary folder")?;
    let mut story = Story::begin(screen, folder).await?;
    story.retry().await?;
    story.hold().await?;
    let burst = story.crash().await?;
    story.release(&burst).await?;
    story.end(&burst).await
}
