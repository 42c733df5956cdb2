//! What ends the process when a thread panics that others would wait for in vain, or whose state others would go on with.

/// Ends the process when it is dropped; whoever has done its work without a panic forgets it. It holds what is broken then.
#[derive(Debug)]
pub(crate) struct EndProcessOnPanic(pub(crate) &'static str);

impl EndProcessOnPanic {
    /// Does the work; what is broken if that panics stands in front.
    pub(crate) fn around<R>(what: &'static str, work: impl FnOnce() -> R) -> R {
        let bomb = Self(what);
        let result = work();
        std::mem::forget(bomb);
        result
    }
}

impl Drop for EndProcessOnPanic {
    fn drop(&mut self) {
        tracing::error!("{} is broken after a panic; the process ends", self.0);
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::EndProcessOnPanic;
    use std::process::{Command, Stdio};
    use std::thread;

    const CHILD: &str = "MARTLET_TEST_PANICS";

    #[test]
    fn a_panic_in_a_thread_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let work = || EndProcessOnPanic::around("a test", || panic!("on purpose"));
            let _ = thread::spawn(work).join();
            return;
        }
        let name = "bomb::tests::a_panic_in_a_thread_ends_the_process";
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", name]).env(CHILD, "1");
        child.stdout(Stdio::null()).stderr(Stdio::null());
        // Who only fails a test has a code.
        assert_eq!(child.status().unwrap().code(), None);
    }

    #[test]
    fn who_does_not_panic_goes_on() {
        assert_eq!(EndProcessOnPanic::around("a test", || 7), 7);
    }
}
