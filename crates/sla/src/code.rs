//! The codes of messages: one list for the whole product.
//!
//! A code stands in front of a message that somebody may have to act on, and never changes its meaning; a number that is
//! given up is not used again. `docs/errors.md` shows each with the message it stands for, made by the real programs.
//!
//! | family | about |
//! |---|---|
//! | `CFG` | flags, environment, file |
//! | `TLS` | certificates, keys, the handshake |
//! | `NET` | reaching and being reached |
//! | `SEC` | secrets that others could read |
//! | `ACL` | destinations that policy refuses |
//! | `DST` | destinations that can't be reached |
//! | `APP` | what applications asked and how |
//! | `LIM` | limits of ours that were reached |
//! | `RES` | what the system gives no more of |
//! | `LNK` | connections between client and server |
//! | `ALR` | the alert robot |
//! | `RUN` | the program itself: reload, log, panics |
//! | `PKI` | `tunnels init` |

/// A constant for each code, and the list of them all.
macro_rules! codes {
    ($($name:ident = $code:literal, $tells:literal;)+) => {
        $(#[doc = $tells] pub const $name: &str = $code;)+

        /// Every code, in the order of the manual, and what it stands for.
        pub const ALL: &[(&str, &str)] = &[$(($code, $tells)),+];
    };
}

codes! {
    UNKNOWN_NAME = "CFG-301", "A flag, setting, variable or command that does not exist";
    BAD_VALUE = "CFG-302", "A value that is not of its setting's kind or range";
    BAD_FILE = "CFG-303", "A configuration file that can't be read, or is not the YAML it should be";
    GIVEN_TWICE = "CFG-304", "Something that is given twice";
    MISSING = "CFG-305", "Something needed that was not given";
    WRONG_PROGRAM = "CFG-306", "A setting of the other program";
    CONFLICT = "CFG-307", "Settings that do not fit together";
    OPEN_PROXY = "CFG-310", "A port for applications that would be open to other machines";
    NO_TLS = "CFG-311", "A tunnel without TLS over a network";
    USER = "CFG-312", "A user that the process can't become";
    LOG_FILE = "CFG-320", "A log file that can't be opened";
    SECRET_FILE = "CFG-321", "A file of users or of a secret that can't be used";
    IDENTITIES_FILE = "CFG-322", "A file of identities that can't be used";

    TLS_WRONG_NAME = "TLS-101", "The server's certificate bears other names";
    TLS_SERVER_ISSUER = "TLS-102", "The server's certificate is not from a CA of ours";
    TLS_SERVER_EXPIRED = "TLS-103", "The server's certificate has expired";
    TLS_SERVER_USE = "TLS-104", "The server's certificate is not for a server";
    TLS_SERVER_BAD = "TLS-105", "The server's certificate can't be accepted for a rarer reason";
    TLS_SERVER_REVOKED = "TLS-106", "The server's certificate is on a revocation list";
    TLS_OWN_EXPIRED = "TLS-110", "Our own certificate has expired, or soon will";
    TLS_NOT_YET = "TLS-111", "A certificate is not valid yet: a clock is wrong";
    TLS_OWN_USE = "TLS-112", "Our own certificate is not for this program";
    TLS_KEY_MISMATCH = "TLS-113", "The key is not that of the certificate";
    TLS_NO_PEM = "TLS-114", "A file that does not hold what it should";
    TLS_FILE = "TLS-115", "A certificate, key or CA file that can't be read";
    TLS_NOT_CA = "TLS-116", "A CA file with a certificate in it that is no CA";
    TLS_KEY = "TLS-117", "A key that can't be used";
    TLS_NAMELESS = "TLS-118", "A server's certificate without a name to look for";
    TLS_CRL = "TLS-119", "A certificate revocation list that can't be used";
    TLS_REFUSED_US = "TLS-120", "The server refused our certificate";
    TLS_CLOSED_US = "TLS-121", "The server closed right after the handshake";
    TLS_NO_CERTIFICATE = "TLS-130", "A client without a certificate";
    TLS_CLIENT_ISSUER = "TLS-131", "A client's certificate is not from a CA of ours";
    TLS_CLIENT_EXPIRED = "TLS-132", "A client's certificate has expired";
    TLS_CLIENT_NOT_YET = "TLS-133", "A client's certificate is not valid yet: a clock is wrong";
    TLS_CLIENT_USE = "TLS-134", "A client's certificate is not for a client";
    TLS_CLIENT_BAD = "TLS-135", "A client's certificate can't be accepted for a rarer reason";
    TLS_CLIENT_REFUSED = "TLS-136", "A client refused our certificate";
    TLS_CLIENT_CLOSED = "TLS-137", "A client closed right after the handshake";
    TLS_CLIENT_UNLISTED = "TLS-138", "A client with a good certificate whose identity is not let in";
    TLS_CLIENT_REVOKED = "TLS-139", "A client whose certificate or identity was revoked";
    TLS_DEADLINE = "TLS-140", "A handshake that was not finished in time";
    TLS_CLOSED = "TLS-141", "A connection that was closed in the middle of the handshake";
    TLS_NOT_TLS = "TLS-142", "A peer that does not speak TLS";
    TLS_NO_PROTOCOL = "TLS-143", "A peer that speaks none of our wires";
    TLS_INCOMPATIBLE = "TLS-144", "A peer with another version of TLS";
    TLS_SERVER_NAME = "TLS-145", "No usable name to look for in the server's certificate";
    TLS_CROWDED = "TLS-146", "A handshake that was ended so that another one has room";
    TLS_OTHER = "TLS-149", "TLS failed for a rarer reason";

    UNREACHABLE = "NET-201", "A server that can't be reached";
    UNRESOLVED = "NET-202", "A server's name that does not resolve";
    NO_ADDRESS = "NET-203", "A server's name without an address of the net that is set";
    NO_SERVER = "NET-204", "No server is named";
    TOO_SLOW = "NET-205", "A server of several that took longer than its share of the time";
    DIAL_LATE = "NET-206", "A dial that came to nothing within its time";
    BIND = "NET-210", "An address that can't be listened on";
    LISTENER = "NET-211", "An address that can't be listened on any longer";

    KEY_MODE = "SEC-330", "A key that others on this machine can read";
    SECRET_MODE = "SEC-331", "A secret that others on this machine can read";
    SECRET_ARGUMENT = "SEC-332", "A secret among a program's arguments";
    ROOT = "SEC-333", "A program that has root's rights and keeps them";
    LIST_MODE = "SEC-334", "A list of those who are let in that others could change";

    DENIED = "ACL-401", "A destination that the server's rules deny";

    TARGET_NAME = "DST-411", "A destination's name that does not exist";
    TARGET_REFUSED = "DST-412", "A destination that refuses connections";
    TARGET_SILENT = "DST-413", "A destination that does not answer";
    TARGET_NO_ROUTE = "DST-414", "A destination without a way to it";
    TARGET_RESOLVER = "DST-415", "A destination's name that could not be looked up";
    TARGET_QUEUE = "DST-416", "A destination that waits for others: too many dials at a time";
    TARGET_BROKE = "DST-417", "A destination that broke off";
    TARGET_OTHER = "DST-419", "A destination that could not be dialled for a reason of the server's own";

    APP_PROTOCOL = "APP-501", "An application that speaks neither SOCKS nor HTTP CONNECT";
    APP_PASSWORD = "APP-502", "An application with a wrong user or password";
    APP_NO_PASSWORD = "APP-503", "An application without a password, where one is needed";
    APP_WEB = "APP-504", "A request for a web server or a web proxy";
    APP_WEB_PAGE = "APP-505", "A request that a web page made its browser send";
    APP_UNSUPPORTED = "APP-506", "A request for something that is not supported";
    APP_MALFORMED = "APP-507", "A request that can't be understood";
    APP_UNFINISHED = "APP-508", "A request that was not finished";
    APP_GUESSES = "APP-509", "An address with too many wrong passwords";

    PREAUTH = "LIM-601", "Connections that were refused before their handshake";

    LIMIT_CONNECTIONS = "LIM-602", "A limit on connections was reached";
    LIMIT_STREAMS = "LIM-603", "A limit on streams was reached";
    LIMIT_IDLE = "LIM-604", "A flow that was quiet for too long";
    LIMIT_DRAIN = "LIM-605", "A flow that was cut when its process had to end";
    LIMIT_PENALTY = "LIM-606", "A client that is kept out for what its connections did";
    LIMIT_MEMORY = "LIM-607", "Something that was refused for want of memory";

    ALERT_SIGNATURE = "ALR-601", "The robot rejected our signature";
    ALERT_PAUSED = "ALR-602", "The robot gets too many messages";
    ALERT_KEYWORD = "ALR-603", "The robot wants a keyword in each message";
    ALERT_ADDRESS = "ALR-604", "The robot does not take messages from our address";
    ALERT_TOKEN = "ALR-605", "The robot does not know our token";
    ALERT_ANSWER = "ALR-606", "The robot's answer is no success";
    ALERT_NO_ROBOT = "ALR-607", "What answers is no robot";
    ALERT_UNREACHABLE = "ALR-608", "The robot can't be reached";

    DESCRIPTORS = "RES-701", "Out of file descriptors";
    PROCESS = "RES-710", "The system refuses what every process needs";

    LINK_STRICT = "LNK-801", "A server on the classic wire, which can't tell results";
    LINK_SILENT = "LNK-802", "A server that does not greet us";
    LINK_CLOSED = "LNK-803", "A server that closes before it says a word";
    LINK_PROTOCOL = "LNK-804", "A server that speaks another wire than ours";
    LINK_LOST = "LNK-805", "A connection that did not live";

    RESTART = "RUN-901", "A changed setting that needs a restart";
    LOG_SHARED = "RUN-902", "A log file that this process can't use";
    LOG_LOST = "RUN-903", "Lines that are not in the log";
    PANICS = "RUN-904", "A process that ends because its tasks keep panicking";

    PKI_EXISTS = "PKI-351", "A file that init would have to overwrite";
    PKI_WRITE = "PKI-352", "A file or folder that init can't make";
    PKI_FAILED = "PKI-359", "A certificate that can't be made: a fault of ours";
}

/// The code that `message` begins with, and what follows it; `None` where it has none.
pub fn split(message: &str) -> Option<(&'static str, &str)> {
    let (first, rest) = message.split_once(' ')?;
    let (code, _) = ALL.iter().find(|(code, _)| *code == first)?;
    Some((code, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_three_letters_and_three_digits_and_stands_once() {
        for (place, (code, tells)) in ALL.iter().enumerate() {
            let (family, number) = code.split_once('-').expect("a dash");
            assert!(family.len() == 3 && family.bytes().all(|b| b.is_ascii_uppercase()), "{code}");
            assert!(number.len() == 3 && number.bytes().all(|b| b.is_ascii_digit()), "{code}");
            assert!(!tells.is_empty() && !tells.ends_with('.'), "{code}");
            assert!(!ALL[..place].iter().any(|(other, _)| other == code), "{code} stands twice");
        }
    }

    #[test]
    fn message_is_split_only_behind_a_code_of_the_list() {
        assert_eq!(split("TLS-101 server h:1: x"), Some((TLS_WRONG_NAME, "server h:1: x")));
        assert_eq!(split("SHA-256 x"), None);
        assert_eq!(split("TLS-101"), None);
    }
}
