/// Declares them, and the list of all.
macro_rules! faults {
    ($($fault:ident,)+) => {
        /// What can happen in a run beside writes: what the simulator does, and what must come of it. Each is counted.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Fault {
            $($fault,)+
        }

        impl Fault {
            /// Every one: none of them may stay away from the whole of a normal run.
            pub(crate) const ALL: &[Self] = &[$(Self::$fault,)+];
        }
    };
}

faults! {
    // The network.
    Cut,
    HalfOpen,
    Partition,
    OneWay,
    SlowLink,
    // Nodes.
    Stalled,
    Crashed,
    LastImage,
    OlderImage,
    CopiedImage,
    NothingLeft,
    RestartedFollowing,
    RestartedLeading,
    RestartedEmpty,
    LoadFailed,
    LostWhileLoading,
    SnapshotFailed,
    LateId,
    Reconfigured,
    UnitTooLarge,
    StreamFull,
    // Roles.
    Promoted,
    TwoLeaders,
    Followed,
    FollowedAtOnce,
    PromotedAtOnce,
    Chain,
    Loop,
    HandoverReady,
    HandoverDone,
    HandoverCancelled,
    HandoverFailed,
    WriteRefused,
    // What must come of it.
    Resumed,
    Renamed,
    FullSync,
    LoadedInVain,
    Diverged,
    Parted,
    DropSilent,
    DropOverLimit,
    DropHistoryChanged,
    FenceApplied,
    FenceTimedOut,
    FenceCancelled,
    FenceHistoryChanged,
    FenceRefused,
    NearTheEnd,
}
