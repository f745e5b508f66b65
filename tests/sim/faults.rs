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

pub(crate) use faults;
