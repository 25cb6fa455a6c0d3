//! The attacks of the population, and the honest oddities that look like them.
//!
//! Each attack has its twin among the oddities, planted as often as the attack itself on top of how often it happens in
//! ordinary life. A rule that cannot tell the two apart is wrong as often as it is right.

/// Lists a kind's variants once: name in the truth file, and whatever else goes with it.
macro_rules! kinds {
    ($(#[$about:meta])* $type:ident { $($(#[$what:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$what])* $variant),+ }

        impl $type {
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As the truth file names it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(super) use kinds;

kinds! {
    /// What strangers do.
    Attack {
        /// The stolen token is presented after its owner has used it: after seconds, minutes, hours or days.
        OwnerFirst = "owner-first",
        /// The thief uses the stolen token before its owner does, who then is the one refused.
        ThiefFirst = "thief-first",
        /// Thief first, from the same city by another operator, with a tool of his own.
        SameCity = "same-city",
        /// Thief first, at the victim's own operator, with the victim's user agent.
        SameNetwork = "same-network",
        /// Thief first, from another continent, with the victim's user agent and device id.
        FarAway = "far-away",
        /// Thief first, behind a consumer VPN, with the victim's user agent.
        BehindVpn = "behind-vpn",
        /// Refreshes at the victim's pace for days; the owner never comes back to that family.
        PatientOwnerGone = "patient-owner-gone",
        /// The same; the owner comes back after days.
        PatientOwnerBack = "patient-owner-back",
        /// The server was started again, forgot what had been consumed, and honours a token long replaced.
        HonouredDead = "honoured-dead",
        /// Thief and owner within one second, and the server takes both.
        SameSecondFork = "same-second-fork",
        /// The thief comes within the server's grace period, and both branches live on.
        GraceFork = "grace-fork",
        /// Refreshes as fast as the server answers.
        Burst = "burst",
        /// The server does not rotate: owner and thief use the same token side by side.
        UnrotatedCopy = "unrotated-copy",
        /// A token out of a back end's store.
        BackendLeak = "backend-leak",
        /// A token out of a build's log.
        RobotLeak = "robot-leak",
        /// Random tokens until one fits: guesses first, then a real token.
        GuessSucceeded = "guess-succeeded",
        /// One device of a thief with the tokens of several users.
        DeviceFarm = "device-farm",
        /// Somebody with the password logs in again and again, and keeps the tokens.
        Hoarding = "hoarding",
        /// A dead token of the victim, from a family that has ended, again and again: the victim is to be locked out.
        LockOut = "lock-out",
        /// Random tokens from one network, several a second.
        BruteForce = "brute-force",
        /// The same from a hundred networks.
        DistributedBruteForce = "distributed-brute-force",
        /// One random token every twenty minutes.
        SlowBruteForce = "slow-brute-force",
        /// Passwords of other sites tried at many users from one network.
        Stuffing = "credential-stuffing",
    }
}

kinds! {
    /// What honest people, apps and operators do.
    Oddity {
        /// Two tabs refresh with the same token within a second.
        TwoTabs = "two-tabs",
        /// A library asks again after its own timeout, though the first answer was on its way.
        SdkRetry = "sdk-retry",
        /// The answer is lost; the app asks again minutes later, or when it is next opened.
        LostAnswer = "lost-answer",
        /// The same, and by then the phone is in another network.
        LostAnswerHandOver = "lost-answer-hand-over",
        /// A tab or laptop that slept comes with a token that was replaced twice or more.
        SleepingLaptop = "sleeping-laptop",
        /// An hour on a train: another network at each refresh.
        TrainRide = "train-ride",
        /// A new phone takes over the old one's token store.
        NewPhone = "new-phone",
        /// The same, and the old phone in the drawer wakes up once more.
        OldPhone = "old-phone",
        /// Browser or app are updated.
        Update = "update",
        /// A consumer VPN is switched on for some hours.
        ConsumerVpn = "consumer-vpn",
        /// Working at home through the company's declared egress.
        CorporateVpn = "corporate-vpn",
        /// A trip, with a real flight.
        Trip = "trip",
        /// An office behind few addresses.
        OfficeNat = "office-nat",
        /// The carrier's hub is in another city than its customers.
        CarrierHub = "carrier-hub",
        /// IPv4 and IPv6 by turns; GeoIP may have them in two cities.
        DualStack = "dual-stack",
        /// A privacy relay of the system's maker, declared as such.
        PrivateRelay = "private-relay",
        /// A family shares a tablet: one device, up to four users.
        SharedTablet = "shared-tablet",
        /// Browsers that forget everything: a login for each visit.
        Incognito = "incognito",
        /// A back end that leaves through two ways at a time.
        MultiEgress = "multi-egress",
        /// A build runs somewhere else each time.
        MovingRobot = "moving-robot",
        /// Logged out, and a forgotten tab tries on.
        ForgottenTab = "forgotten-tab",
        /// A changed password ends all families.
        PasswordChange = "password-change",
        /// An operator disables the user, and enables again.
        UserDisabled = "user-disabled",
        /// An operator ends the session.
        OperatorRevoked = "operator-revoked",
        /// Away for weeks.
        Holiday = "holiday",
        /// A client release refreshes in a loop.
        RefreshLoop = "refresh-loop",
        /// A retry that the server honours within its grace period.
        GraceRetry = "grace-retry",
        /// A lost answer is asked for again after a restart, and the server honours it.
        RestartRetry = "restart-retry",
        /// Two tabs within one second, and the server takes both.
        SameSecond = "same-second",
        /// The same unrotated token from the network of a holiday flat.
        TravellingStick = "travelling-stick",
        /// A client presents a token that the server does not know, again and again.
        BrokenClient = "broken-client",
        /// The same every twenty minutes.
        PollingClient = "polling-client",
        /// A damaged token store: some unknown tokens, then a login.
        CorruptStore = "corrupt-store",
        /// Hundreds of clients with tokens that a fault of the server has made unknown, within minutes.
        MassExpiry = "mass-expiry",
        /// A password mistyped, and mistyped again.
        MistypedPassword = "mistyped-password",
    }
}

impl Attack {
    /// The honest oddity that looks like it.
    pub const fn twin(self) -> Oddity {
        match self {
            Self::OwnerFirst => Oddity::SleepingLaptop,
            Self::ThiefFirst => Oddity::LostAnswerHandOver,
            Self::SameCity => Oddity::Update,
            Self::SameNetwork => Oddity::TwoTabs,
            Self::FarAway => Oddity::Trip,
            Self::BehindVpn => Oddity::ConsumerVpn,
            Self::PatientOwnerGone => Oddity::NewPhone,
            Self::PatientOwnerBack => Oddity::OldPhone,
            Self::HonouredDead => Oddity::RestartRetry,
            Self::SameSecondFork => Oddity::SameSecond,
            Self::GraceFork => Oddity::GraceRetry,
            Self::Burst => Oddity::RefreshLoop,
            Self::UnrotatedCopy => Oddity::TravellingStick,
            Self::BackendLeak => Oddity::MultiEgress,
            Self::RobotLeak => Oddity::MovingRobot,
            Self::GuessSucceeded => Oddity::CorruptStore,
            Self::DeviceFarm => Oddity::SharedTablet,
            Self::Hoarding => Oddity::Incognito,
            Self::LockOut => Oddity::ForgottenTab,
            Self::BruteForce => Oddity::BrokenClient,
            Self::DistributedBruteForce => Oddity::MassExpiry,
            Self::SlowBruteForce => Oddity::PollingClient,
            Self::Stuffing => Oddity::MistypedPassword,
        }
    }

    /// Whether somebody holds a copy of a user's token; otherwise nothing was stolen (yet).
    pub const fn is_theft(self) -> bool {
        !matches!(
            self,
            Self::Hoarding
                | Self::LockOut
                | Self::BruteForce
                | Self::DistributedBruteForce
                | Self::SlowBruteForce
                | Self::Stuffing
        )
    }
}

impl Oddity {
    /// Whether it is how somebody lives, rather than something that happens once: planted by nobody, there from the start.
    pub const fn is_habit(self) -> bool {
        matches!(
            self,
            Self::OfficeNat
                | Self::CarrierHub
                | Self::DualStack
                | Self::PrivateRelay
                | Self::SharedTablet
                | Self::Incognito
                | Self::MultiEgress
                | Self::MovingRobot
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_attack_has_a_twin_of_its_own() {
        let twins: BTreeSet<Oddity> = Attack::ALL.iter().map(|attack| attack.twin()).collect();
        assert_eq!(twins.len(), Attack::ALL.len());
    }

    #[test]
    fn names_differ() {
        let attacks = Attack::ALL.iter().map(|attack| attack.as_str());
        let names: BTreeSet<&str> = attacks
            .chain(Oddity::ALL.iter().map(|oddity| oddity.as_str()))
            .collect();
        assert_eq!(names.len(), Attack::ALL.len() + Oddity::ALL.len());
    }
}
