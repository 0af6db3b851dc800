//! What a dying process still has to write out; set by the log where one is installed.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Runs the hook that [`set`] left, if any.
pub(crate) fn before_exit(limit: Duration) {
    let hook = *HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hook) = hook {
        hook(limit);
    }
}

/// Names the function that writes out everything pending and takes at most the time it is given.
#[cfg(feature = "subscriber")]
pub(crate) fn set(hook: fn(Duration)) {
    *HOOK.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
}

static HOOK: Mutex<Option<fn(Duration)>> = Mutex::new(None);
