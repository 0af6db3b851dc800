//! What can go wrong in a world.

/// A kind of fault, counted when it struck.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// A transport broke at a byte.
    CutAtByte,
    /// A transport broke at an instant.
    CutInTime,
    /// A transport swallowed everything from some point on.
    BlackHole,
    /// A transport stood still for a while.
    Stall,
    /// The round-trip time of a path grew and grew.
    PathGrows,
    /// A dial failed.
    DialFailure,
    /// A peer sent nonsense.
    HostilePeer,
    /// The server told a connection to end.
    ServerDrain,
    /// The client's machine slept.
    Suspend,
    /// A reader took few bytes at a time.
    SlowReader,
    /// A reader took nothing for a while, with bytes waiting.
    StoppedReader,
    /// The client's side of a flow was reset.
    ClientReset,
    /// The server's side of a flow was reset.
    ServerReset,
    /// A process had no memory for another stream, or for a wider window.
    TightMemory,
    /// A stream was refused before anything was done with it, and asked for again (remux2).
    SafeRetry,
    /// The server opened a stream (remux2).
    ServerStream,
    /// A path held one side's words back, and let them go.
    Partition,
    /// The server told all of its connections to end.
    Reload,
    /// A machine slept.
    Sleep,
}

impl Kind {
    /// Those of the mix.
    pub(crate) const MIX: [Self; 16] = [
        Self::CutAtByte,
        Self::CutInTime,
        Self::BlackHole,
        Self::Stall,
        Self::PathGrows,
        Self::DialFailure,
        Self::HostilePeer,
        Self::ServerDrain,
        Self::Suspend,
        Self::SlowReader,
        Self::StoppedReader,
        Self::ClientReset,
        Self::ServerReset,
        Self::TightMemory,
        Self::SafeRetry,
        Self::ServerStream,
    ];

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::CutAtByte => "cut at a byte",
            Self::CutInTime => "cut in time",
            Self::BlackHole => "black hole",
            Self::Stall => "stall",
            Self::PathGrows => "path grows",
            Self::DialFailure => "dial failure",
            Self::HostilePeer => "hostile peer",
            Self::ServerDrain => "server drains",
            Self::Suspend => "suspend",
            Self::SlowReader => "slow reader",
            Self::StoppedReader => "stopped reader",
            Self::ClientReset => "client resets",
            Self::ServerReset => "server resets",
            Self::TightMemory => "tight memory",
            Self::SafeRetry => "safe retry",
            Self::ServerStream => "server's stream",
            Self::Partition => "partition",
            Self::Reload => "reload",
            Self::Sleep => "sleep",
        }
    }
}
