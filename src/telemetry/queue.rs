//! The queue in front of stderr, and the thread that empties it.
//!
//! Whoever logs puts a line into the queue and goes on: a reader of stderr that stalls, a full disk or a closed pipe
//! costs lines, never a thread. Where stderr takes lines it is as if they were written at once: whoever logs something of
//! weight waits for it, but not for long, and no more once that was in vain. Lines that do not fit, or that stderr refuses,
//! are counted, and the log says how many were lost once stderr takes lines again.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Write},
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

/// Bytes of lines that wait for stderr. Some ten thousand lines: more than a burst of errors, and little memory.
const QUEUE_BYTES: usize = 2 * 1024 * 1024;
/// What a line costs beside its text, in bytes, so that empty lines have a limit too.
const LINE_OVERHEAD: usize = 64;
/// Between two tries on a stderr that is set to non-blocking and takes nothing at the moment.
const RETRY: Duration = Duration::from_millis(20);

/// How long who logs waits for its line, so that the log says what came before a crash.
const PATIENCE: Duration = Duration::from_millis(100);

/// Lines on their way to stderr.
pub(super) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    lost: AtomicU64,
}

struct State {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// Lines that were ever put in, and those of them that are written or lost.
    pushed: u64,
    done: u64,
    /// Somebody has waited in vain for its line; nobody waits until the queue is empty again.
    stalled: bool,
}

impl Queue {
    pub const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                lines: VecDeque::new(),
                bytes: 0,
                pushed: 0,
                done: 0,
                stalled: false,
            }),
            filled: Condvar::new(),
            written: Condvar::new(),
            lost: AtomicU64::new(0),
        }
    }

    /// Puts a line at the end, or counts it as lost when there is no room. Waits a moment for it to be written if it
    /// `waits`, never for longer.
    pub fn push(&self, line: &[u8], waits: bool) {
        let cost = cost(line);
        let mut state = self.lock();
        if state.bytes + cost > QUEUE_BYTES {
            drop(state);
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        state.bytes += cost;
        state.lines.push_back(line.into());
        state.pushed += 1;
        let own = state.pushed;
        self.filled.notify_one();
        if waits && !state.stalled {
            let waiting = |state: &mut State| state.done < own && !state.stalled;
            let waited = self.written.wait_timeout_while(state, PATIENCE, waiting);
            let (mut state, time) = waited.unwrap_or_else(PoisonError::into_inner);
            state.stalled |= time.timed_out();
        }
    }

    /// Lines that were lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Waits until everything is written, at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let state = self.lock();
        let busy = |state: &mut State| state.done < state.pushed;
        drop(self.written.wait_timeout_while(state, patience, busy));
    }

    /// Writes lines out for as long as the process lives. `tell` logs how many lines were lost.
    pub fn run(&self, out: impl Write, tell: impl Fn(u64)) {
        let mut out = Output { out, torn: false };
        let mut told = 0;
        loop {
            let line = self.take();
            let written = out.line(&line).is_ok();
            if !written {
                self.lost.fetch_add(1, Relaxed);
            }
            let lost = self.lost();
            // Before the line counts as done, so that who waits for the queue to be empty gets this line too.
            if written && lost > told && self.has_room() {
                tell(lost - told);
                told = lost;
            }
            self.done();
        }
    }

    /// The next line; waits for it.
    fn take(&self) -> Box<[u8]> {
        let mut state = self.lock();
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= cost(&line);
                return line;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The line that was taken is written or lost.
    fn done(&self) {
        let mut state = self.lock();
        state.done += 1;
        state.stalled &= !state.lines.is_empty();
        self.written.notify_all();
    }

    /// Whether the queue has room to spare.
    fn has_room(&self) -> bool {
        self.lock().bytes <= QUEUE_BYTES / 2
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn cost(line: &[u8]) -> usize {
    line.len() + LINE_OVERHEAD
}

/// Where lines go, and whether the last one was cut off.
struct Output<W> {
    out: W,
    torn: bool,
}

impl<W: Write> Output<W> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.torn {
            self.piece(b"\n")?;
            self.torn = false;
        }
        self.piece(line)
    }

    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut left = bytes;
        while !left.is_empty() {
            match self.out.write(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => {
                    self.torn |= left.len() < bytes.len();
                    return Err(error);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    type Script = mpsc::SyncSender<io::Result<usize>>;
    type Taken = Arc<Mutex<Vec<u8>>>;

    /// Answers each write as the test says: takes so many bytes, or fails.
    struct Scripted {
        script: mpsc::Receiver<io::Result<usize>>,
        taken: Taken,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let said = self.script.recv().unwrap_or(Ok(usize::MAX))?;
            let taken = &bytes[..said.min(bytes.len())];
            self.taken.lock().unwrap().extend_from_slice(taken);
            Ok(taken.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A queue whose thread waits for what the test says of each write.
    fn started() -> (&'static Queue, Script, Taken) {
        let queue: &'static Queue = Box::leak(Box::new(Queue::new()));
        let (say, script) = mpsc::sync_channel(16);
        let taken = Taken::default();
        let out = Scripted {
            script,
            taken: taken.clone(),
        };
        thread::spawn(move || queue.run(out, |lost| queue.push(format!("lost {lost}\n").as_bytes(), false)));
        (queue, say, taken)
    }

    fn text(taken: &Mutex<Vec<u8>>) -> String {
        String::from_utf8(taken.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn lines_that_do_not_fit_are_lost_and_told_of_when_output_is_taken_again() {
        let (queue, say, taken) = started();
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<_>>();
        // Nobody reads: the first is being written, the others wait or are lost.
        let pushed = 2 * QUEUE_BYTES / line.len();
        (0..pushed).for_each(|_| queue.push(&line, false));
        queue.flush(Duration::ZERO);
        let lost = queue.lost();
        assert!(lost > 0 && queue.lock().bytes <= QUEUE_BYTES);
        drop(say);
        queue.flush(LONG);
        let text = text(&taken);
        assert!(
            text.ends_with(&format!("lost {lost}\n")),
            "{}",
            &text[text.len() - 100..]
        );
        assert_eq!(
            text.lines().filter(|line| line.starts_with('x')).count() as u64,
            pushed as u64 - lost
        );
        assert_eq!(queue.lost(), lost);
    }

    #[test]
    fn a_line_that_is_cut_off_does_not_run_into_the_next_one() {
        let (queue, say, taken) = started();
        say.send(Err(ErrorKind::Interrupted.into())).unwrap();
        say.send(Ok(3)).unwrap();
        say.send(Err(ErrorKind::StorageFull.into())).unwrap();
        queue.push(b"first line\n", false);
        queue.push(b"second line\n", false);
        drop(say);
        queue.flush(LONG);
        assert_eq!(text(&taken), "fir\nsecond line\nlost 1\n");
    }

    #[test]
    fn output_that_would_block_is_tried_again() {
        let (queue, say, taken) = started();
        say.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        drop(say);
        queue.push(b"line\n", false);
        queue.flush(LONG);
        assert_eq!((text(&taken).as_str(), queue.lost()), ("line\n", 0));
    }

    #[test]
    fn a_line_that_is_waited_for_is_written_and_a_stalled_output_is_waited_for_once() {
        let (queue, say, taken) = started();
        // It waits until the test says something of the write, which is never, and gives up.
        queue.push(b"first\n", true);
        assert!(queue.lock().stalled);
        (0..1000).for_each(|_| queue.push(b"more\n", true));
        drop(say);
        queue.flush(LONG);
        assert!(!queue.lock().stalled);
        queue.push(b"last\n", true);
        assert!(queue.lock().stalled || text(&taken).ends_with("more\nlast\n"));
    }
}
