/// Declares them, and the list of all.
macro_rules! faults {
    ($($fault:ident,)+) => {
        /// What can go wrong in a run: what the simulator does, and what must come of it. Each is counted.
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
    CutInHandshake,
    CutInSnapshot,
    CutInStream,
    HalfOpen,
    PartialWrite,
    Clogged,
    // Replicas.
    Paused,
    SlowReader,
    Crashed,
    StateLost,
    StateOlder,
    EveryoneAway,
    Mute,
    AckLost,
    AckRepeated,
    AckBackwards,
    AckAhead,
    AckEarly,
    DiskStuck,
    DiskAhead,
    AskedAstray,
    PortChanged,
    // The host.
    SnapshotFailed,
    SnapshotNeverReady,
    SnapshotBegunLate,
    IdDelayed,
    ClockStoodStill,
    ClockJumped,
    ClockWentBack,
    Reconfigured,
    BatchReturnedLate,
    SnapshotBegunUnasked,
    StaleKeyUsed,
    LocalFsyncStopped,
    LocalFsyncBackwards,
    LocalFsyncAhead,
    RoleGivenUp,
    // Clients.
    WaitCancelled,
    ClientGone,
    ClientGoneUntold,
    // What is written.
    UnitOfOneByte,
    UnitAboveBacklog,
    UnitToTheLimit,
    UnitCleared,
    UnitPanicked,
    UnitAboveBound,
    Transaction,
    Burst,
    // What comes of it.
    Resumed,
    ResumedAmongTransfers,
    RefusedUnknownHistory,
    RefusedNoBacklog,
    RefusedTooOld,
    RefusedInFuture,
    RefusedOverLimit,
    TooManyReplicas,
    IdMissing,
    SnapshotJoinedLate,
    SnapshotSuitsNobody,
    HeldBack,
    HeldBackForLonger,
    HeldBackForMost,
    HeldBackTogether,
    HeldBackAfterReturn,
    SyncedAgainLater,
    SyncUnlikely,
    TooManyTransfers,
    DroppedForItsDisk,
    AcksRequested,
    WaitSatisfied,
    WaitTimedOut,
    WaitRefused,
    WaitEndedByRole,
    WaitEndedByDisk,
    GateClosed,
    GateOpened,
    WriteRefused,
    DroppedByLimit,
    DroppedBySoftLimit,
    DroppedAsSilent,
    DroppedAsStalled,
    DroppedForItsAck,
    DroppedSnapshotFailed,
    DroppedSnapshotLate,
    DroppedHistoryChanged,
    BacklogExpired,
    WriteNotCounted,
}
