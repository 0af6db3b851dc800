//! The cryptography, named outright: never the process-wide default, which any linked crate could have set.

use std::sync::Arc;

use rustls::SupportedCipherSuite;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};

/// aws-lc-rs with TLS 1.3 suites only, the fastest for this machine first, and the hybrid exchange first.
pub(super) fn provider(post_quantum: bool) -> Arc<CryptoProvider> {
    let mut kx_groups: Vec<&'static dyn SupportedKxGroup> = Vec::with_capacity(4);
    if post_quantum {
        kx_groups.push(kx_group::X25519MLKEM768);
    }
    kx_groups.extend([kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1]);
    Arc::new(CryptoProvider { cipher_suites: suites(has_aes()), kx_groups, ..default_provider() })
}

/// AES-128 is a sixth faster than AES-256 where the processor has AES (24.0 against 20.6 GB/s at 16 KiB), and
/// ChaCha20 is several times faster than AES where it has not.
fn suites(has_aes: bool) -> Vec<SupportedCipherSuite> {
    let aes = [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384];
    let chacha = [cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    if has_aes { [&aes[..], &chacha[..]].concat() } else { [&chacha[..], &aes[..]].concat() }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use rustls::{CipherSuite, NamedGroup};

    use super::*;

    #[test]
    fn suites_are_of_tls13_and_ordered_by_the_machine() {
        let first = |has_aes| suites(has_aes)[0].suite();
        assert_eq!(first(true), CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(first(false), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
        assert!(suites(true).iter().all(|suite| suite.tls13().is_some()));
    }

    #[test]
    fn hybrid_exchange_comes_first_unless_switched_off() {
        let first = |post_quantum| provider(post_quantum).kx_groups[0].name();
        assert_eq!(first(true), NamedGroup::X25519MLKEM768);
        assert_eq!(first(false), NamedGroup::X25519);
        assert!(provider(false).kx_groups.iter().all(|group| group.name() != NamedGroup::X25519MLKEM768));
    }
}
