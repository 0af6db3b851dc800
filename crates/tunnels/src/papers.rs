//! What grows old while a program serves: certificates and lists, which a reload renews.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use sla::event;

use crate::Error;

/// The papers of a serving program.
pub(crate) trait Papers: Clone + Send + Sync + 'static {
    /// Reads them anew, with all else that can be renewed.
    fn renew(&self) -> Result<(), Error>;

    /// Our own certificate: its file and its end.
    fn certificate(&self) -> Option<(PathBuf, SystemTime)>;

    /// The file of revocation lists, if one of them is older than it should be.
    fn stale_list(&self) -> Option<PathBuf>;
}

/// Renews them and tells the log how it went.
pub(crate) fn renew(papers: &impl Papers) {
    match papers.renew() {
        Ok(()) => event::reloaded("certificates, users, identities and grants"),
        Err(error) => event::reload_failed("configuration", &error.to_string()),
    }
}

/// Says when our own certificate comes near its end, and again at each nearer threshold, and that revocation lists are stale.
pub(crate) async fn watch(papers: impl Papers) {
    let mut told = None;
    while let Some((file, end)) = papers.certificate() {
        if let Some(list) = papers.stale_list() {
            event::crl_stale(&list.display().to_string());
        }
        let now = SystemTime::now();
        let file = file.display().to_string();
        match end.duration_since(now) {
            Err(_) => event::certificate_expired(&file),
            Ok(left) => {
                if let Some(threshold) = transport::expiry_warning(end, now, told) {
                    told = Some(threshold);
                    let days = u32::try_from(left.as_secs() / DAY).unwrap_or(u32::MAX);
                    event::certificate_expiring(&file, days);
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// How often the papers are looked at.
const LOOK: Duration = Duration::from_hours(1);
const DAY: u64 = 86_400;
