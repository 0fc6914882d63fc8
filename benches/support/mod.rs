//! What the programs share: the real server as a process of its own, load, receivers, limits, and the report.
//!
//! Each program is a bench target that has this as a module; a test runs each in its smallest form, from the same
//! sources. A program is a function that takes a [`Bench`] and adds figures to its report. Nothing here passes or fails.

pub mod client;
pub mod fill;
pub mod hostile;
pub mod lags;
pub mod limits;
pub mod load;
pub mod proc;
pub mod receiver;
pub mod report;
pub mod server;
pub mod settings;

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use receiver::Receiver;
use report::Report;
use settings::Settings;

/// The name of the threads that make load.
pub const LOAD: &str = "load";
/// Until what was settled last is written and applied.
pub const SETTLE: Duration = Duration::from_millis(300);
/// Receivers.
const PORTS: usize = 10;

/// What every measurement needs.
pub struct Bench {
    pub settings: Settings,
    pub receiver: Arc<Receiver>,
    pub addresses: Vec<SocketAddr>,
    pub report: Report,
}

/// A program's measurements, on their way.
pub type Measuring<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

impl Bench {
    pub fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        eprintln!("{name}: {value:.3} {unit}");
        self.report.add(name, unit, value);
    }

    /// How long one run takes where the program has no need of its own.
    pub fn run(&self) -> Duration {
        self.settings.run(2.0)
    }

    /// A URL of the `place`th receiver.
    pub fn url(&self, place: usize, path: &str) -> String {
        format!("http://{}{path}", self.addresses[place % self.addresses.len()])
    }
}

/// A bench's `main`: measures as the environment says, and prints.
pub fn main(measure: for<'a> fn(&'a mut Bench) -> Measuring<'a>) {
    let bench = run(Settings::from_environment(), measure);
    println!(
        "{} cores, shared by the server, its load and its receivers",
        report::cores()
    );
    bench.report.print(&bench.settings);
}

/// Measures. Load and receivers have a runtime each.
pub fn run(settings: Settings, measure: for<'a> fn(&'a mut Bench) -> Measuring<'a>) -> Bench {
    let receiving = runtime("receiver");
    let (receiver, addresses) = Receiver::start(receiving.handle(), PORTS);
    let mut bench = Bench {
        settings,
        receiver,
        addresses,
        report: Report::default(),
    };
    let bench = runtime(LOAD).block_on(async {
        // Not on the main thread: its time would not be counted.
        let measured = tokio::spawn(async move {
            measure(&mut bench).await;
            bench
        });
        measured.await.unwrap()
    });
    receiving.shutdown_background();
    bench
}

fn runtime(name: &str) -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}
