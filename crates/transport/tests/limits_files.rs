//! Certificate files have a size beyond which they are not read.

use transport::{ServerTls, TlsFiles, TlsSettings};

#[test]
fn certificate_file_over_a_mebibyte_is_refused_by_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, size: usize| {
        let path = folder.path().join(name);
        std::fs::write(&path, vec![b'#'; size]).unwrap();
        path
    };
    let fault = |size| {
        let ca = file("ca.crt", size);
        let files = TlsFiles { certificate: ca.clone(), key: ca.clone(), ca };
        ServerTls::load(TlsSettings::new(files, &[])).unwrap_err().to_string()
    };
    assert!(fault((1 << 20) + 1).contains("larger than 1024 KiB"), "{}", fault((1 << 20) + 1));
    assert!(!fault(1 << 20).contains("larger"), "{}", fault(1 << 20));
}
