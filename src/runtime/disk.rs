//! Waiting for a disk without keeping others waiting.

use tokio::runtime::{Handle, RuntimeFlavor};

/// Reads what may be long in coming, while the tasks of this thread go on in another: a disk that hangs must not silence
/// the server. Costs about 5 µs. In a runtime of one thread, as tests have it, they wait.
pub fn waiting<T>(read: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(read),
        _ => read(),
    }
}
