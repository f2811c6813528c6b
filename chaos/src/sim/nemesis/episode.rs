//! Episodes of machines: processes, power, disks and clocks.

use std::time::Duration;

use super::book::{Span, Thing};
use super::{CONTROL_PLANE_GONE, Draft};
use crate::drill::action::Fault;
use crate::node::Node;

/// A new voter catches up and is let in within this.
const REPLACING: Duration = Duration::from_secs(12);
/// Edges have noticed that their connections are gone, and are back, within this.
const RECONNECTING: Duration = Duration::from_secs(12);

/// What a voter said of its clock is counted by the others for so long (`HEARD_WITHIN` of a leader).
const CLOCK_REMEMBERED: Duration = Duration::from_secs(20);

/// How a node goes away.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    Kill,
    PowerCut,
    Stop,
    Pause,
}

impl End {
    pub(super) fn begin(self, node: &Node) -> Fault {
        let nodes = vec![node.clone()];
        match self {
            Self::Kill => Fault::Kill(nodes),
            Self::PowerCut => Fault::PowerCut(nodes),
            Self::Stop => Fault::Stop(nodes),
            Self::Pause => Fault::Pause(nodes),
        }
    }

    pub(super) fn undo(self, node: &Node) -> Fault {
        let nodes = vec![node.clone()];
        match self {
            Self::Kill | Self::PowerCut | Self::Stop => Fault::Start(nodes),
            Self::Pause => Fault::Resume(nodes),
        }
    }
}

/// A node goes away and comes back.
#[derive(Debug, Clone)]
pub(super) struct Absence {
    pub(super) node: Node,
    pub(super) end: End,
    pub(super) span: Span,
}

impl Draft<'_> {
    /// Draws an episode and writes it down, if there is time and place for it; gives its name.
    pub(super) fn episode(&mut self) -> Option<&'static str> {
        match self.random_below(36) {
            0..=2 => self.one_away(End::Kill, "kill"),
            3..=6 => self.one_away(End::PowerCut, "power cut"),
            7 => self.one_away(End::Stop, "stop"),
            8..=10 => self.one_away(End::Pause, "pause"),
            11..=12 => self.again_and_again(),
            13..=15 => self.one_after_the_other(),
            16..=17 => self.power_cut_of_all_voters(),
            18 => self.rolling_restart(),
            19 => self.killed_while_paused(),
            20 => self.disk_full(),
            21..=22 => self.fsync_error(),
            23..=24 => self.clock_jump(),
            25 => self.reconnect_storm(),
            26..=31 => self.partition(),
            _ => self.bad_links(),
        }
    }

    pub(super) fn random_below(&mut self, n: u64) -> u128 {
        self.millis(0, n - 1).as_millis()
    }

    /// For how long: often shorter than an election, sometimes longer than a lease.
    fn while_away(&mut self) -> Duration {
        match self.random_below(6) {
            0 => self.millis(1, 300),
            1..=2 => self.millis(300, 2_000),
            3..=4 => self.millis(2_000, 6_000),
            _ => self.millis(6_000, 13_000),
        }
    }

    /// Writes these absences down if every node is free and enough voters stay.
    pub(super) fn away(&mut self, absences: &[Absence], majority_away_max: Duration) -> Option<()> {
        if !absences.iter().all(|absence| self.book.is_free(&Thing::Host(absence.node.clone()), absence.span)) {
            return None;
        }
        self.book_voters(absences.iter().map(|absence| (absence.node.clone(), absence.span)), majority_away_max)?;
        for absence in absences {
            self.book.take(Thing::Host(absence.node.clone()), absence.span);
            self.push(absence.span.from, absence.end.begin(&absence.node));
            self.push(absence.span.to, absence.end.undo(&absence.node));
        }
        Some(())
    }

    /// Takes note of voters that will be away, if enough of them stay.
    pub(super) fn book_voters(
        &mut self,
        away: impl Iterator<Item = (Node, Span)>,
        majority_away_max: Duration,
    ) -> Option<()> {
        let away: Vec<_> = away.filter(|(node, _)| matches!(node, Node::Voter(_))).collect();
        let voters = self.roster.voters().count();
        if !away.is_empty() && self.book.majority_away(voters, &away) > majority_away_max {
            return None;
        }
        self.book.send_away(away);
        Some(())
    }

    fn one_away(&mut self, end: End, name: &'static str) -> Option<&'static str> {
        let (node, from, long) = (self.victim()?, self.sometime(), self.while_away());
        let absence = Absence { node, end, span: Span { from, to: from + long } };
        self.away(&[absence], self.majority_away_max).map(|()| name)
    }

    /// A node that does not get up: killed three times, each time while it starts.
    fn again_and_again(&mut self) -> Option<&'static str> {
        let (node, mut at) = (self.victim()?, self.sometime());
        let begin = at;
        let mut steps = Vec::new();
        for _ in 0..3 {
            let end = if self.one_in(2) { End::Kill } else { End::PowerCut };
            let (down, up) = (self.millis(1, 800), self.millis(20, 1_500));
            steps.push((at, end.begin(&node)));
            steps.push((at + down, end.undo(&node)));
            at += down + up;
        }
        let span = Span { from: begin, to: at };
        if !self.book.is_free(&Thing::Host(node.clone()), span) {
            return None;
        }
        self.book_voters(std::iter::once((node.clone(), span)), self.majority_away_max)?;
        self.book.take(Thing::Host(node), span);
        for (at, fault) in steps {
            self.push(at, fault);
        }
        Some("again and again")
    }

    /// Another voter goes while the first is away and somebody is being elected.
    fn one_after_the_other(&mut self) -> Option<&'static str> {
        let voters = self.voters();
        let mut at = self.sometime();
        let mut absences = Vec::new();
        for node in self.some(&voters, 2) {
            let end = match self.random_below(3) {
                0 => End::Kill,
                1 => End::PowerCut,
                _ => End::Pause,
            };
            let long = self.millis(100, 3_500);
            absences.push(Absence { node, end, span: Span { from: at, to: at + long } });
            at += self.millis(50, 2_500);
        }
        self.away(&absences, self.majority_away_max).map(|()| "one after the other")
    }

    /// The power of the room goes, and comes back at one voter after the other.
    fn power_cut_of_all_voters(&mut self) -> Option<&'static str> {
        let from = self.sometime();
        let mut absences = Vec::new();
        for node in self.voters() {
            let (late, long) = (self.millis(0, 3), self.millis(200, 2_500));
            let from = from + late;
            absences.push(Absence { node, end: End::PowerCut, span: Span { from, to: from + long } });
        }
        self.away(&absences, self.majority_away_max).map(|()| "power cut of all voters")
    }

    /// No voter at all, for longer than edges permit what cannot be taken back.
    pub(super) fn control_plane_gone(&mut self) -> Option<&'static str> {
        let (begin, end) = self.book.window();
        let voters = self.voters();
        // It has the first word in the book, so that it finds place in every window that is long enough.
        let window = u64::try_from(end.saturating_sub(begin).as_millis()).unwrap_or(u64::MAX);
        let long = self.millis(11_000, 20_000);
        let spare = window.saturating_sub(21_000);
        let from = begin + self.millis(0, spare);
        let how = if self.one_in(2) { End::PowerCut } else { End::Kill };
        let absences: Vec<_> = voters
            .into_iter()
            .map(|node| {
                let late = self.millis(0, 900);
                Absence { node, end: how, span: Span { from: from + late, to: from + late + long } }
            })
            .collect();
        self.away(&absences, Duration::MAX).map(|()| CONTROL_PLANE_GONE)
    }

    /// Every voter or every edge, one after the other, as a new release is rolled out.
    fn rolling_restart(&mut self) -> Option<&'static str> {
        let nodes = if self.one_in(2) { self.edges.clone() } else { self.voters() };
        let mut at = self.sometime();
        let mut absences = Vec::new();
        for node in nodes {
            let (long, gap) = (self.millis(200, 1_000), self.millis(500, 2_000));
            absences.push(Absence { node, end: End::Stop, span: Span { from: at, to: at + long } });
            at += long + gap;
        }
        self.away(&absences, self.majority_away_max).map(|()| "rolling restart")
    }

    fn killed_while_paused(&mut self) -> Option<&'static str> {
        let (node, from) = (self.victim()?, self.sometime());
        let (paused, down) = (self.millis(500, 5_000), self.millis(100, 2_000));
        let span = Span { from, to: from + paused + down };
        if !self.book.is_free(&Thing::Host(node.clone()), span) {
            return None;
        }
        self.book_voters(std::iter::once((node.clone(), span)), self.majority_away_max)?;
        self.book.take(Thing::Host(node.clone()), span);
        self.push(from, Fault::Pause(vec![node.clone()]));
        self.push(from + paused, Fault::Kill(vec![node.clone()]));
        self.push(span.to, Fault::Start(vec![node]));
        Some("killed while paused")
    }

    /// A node may stop when its disk is full, so it is started afterwards.
    fn disk_full(&mut self) -> Option<&'static str> {
        let (node, from) = (self.victim()?, self.sometime());
        let (full, down) = (self.millis(1_000, 8_000), self.millis(100, 1_000));
        let span = Span { from, to: from + full + down };
        if !self.book.is_free(&Thing::Host(node.clone()), span) {
            return None;
        }
        self.book_voters(std::iter::once((node.clone(), span)), self.majority_away_max)?;
        self.book.take(Thing::Host(node.clone()), span);
        self.push(from, Fault::DiskFull(vec![node.clone()]));
        self.push(from + full, Fault::DiskFree(vec![node.clone()]));
        self.push(span.to, Fault::Start(vec![node]));
        Some("disk full")
    }

    /// A sync fails, the node stops, the disk is seen to, the node is started. One that never synced is killed.
    fn fsync_error(&mut self) -> Option<&'static str> {
        let (node, from) = (self.victim()?, self.sometime());
        let (bad, down) = (self.millis(500, 4_000), self.millis(100, 2_000));
        let span = Span { from, to: from + bad + down };
        if !self.book.is_free(&Thing::Host(node.clone()), span) {
            return None;
        }
        self.book_voters(std::iter::once((node.clone(), span)), self.majority_away_max)?;
        self.book.take(Thing::Host(node.clone()), span);
        let end = if self.one_in(2) { End::Kill } else { End::PowerCut };
        self.push(from, Fault::FsyncError(vec![node.clone()]));
        self.push(from + bad, end.begin(&node));
        self.push(span.to, Fault::Start(vec![node]));
        Some("fsync error")
    }

    /// A wall clock jumps, and later jumps back.
    fn clock_jump(&mut self) -> Option<&'static str> {
        let (node, from, long) = (self.victim()?, self.sometime(), self.millis(1_000, 12_000));
        let span = Span { from, to: from + long };
        let mut things = vec![(Thing::Clock(node.clone()), span)];
        if let Node::Voter(_) = node {
            // What a voter said of its clock counts for a while.
            let (from, to) = (span.from, (span.to + CLOCK_REMEMBERED).min(self.book.window().1));
            things.push((Thing::VoterClock, Span { from, to }));
        }
        if things.iter().any(|(thing, span)| !self.book.is_free(thing, *span)) {
            return None;
        }
        things.into_iter().for_each(|(thing, span)| self.book.take(thing, span));
        let size = match self.random_below(4) {
            0 => self.millis(100, 1_000),
            1 => self.millis(1_000, 15_000),
            2 => self.millis(15_000, 600_000),
            _ => self.millis(600_000, 7_200_000),
        };
        let size = i64::try_from(size.as_millis()).unwrap_or(i64::MAX);
        let by_ms = if self.one_in(2) { size } else { -size };
        self.push(from, Fault::ClockJump { nodes: vec![node.clone()], by_ms });
        self.push(span.to, Fault::ClockJump { nodes: vec![node], by_ms: -by_ms });
        Some("clock jump")
    }

    /// A voter is gone for good; the others and the network are left alone meanwhile. Neither the voter nor its
    /// successor, whose id nobody knows yet, has another part in the plan.
    pub(super) fn replace_voter(&mut self) -> Option<&'static str> {
        let node = self.voter()?;
        let from = self.sometime();
        let meanwhile = Span { from, to: from + REPLACING };
        let things: Vec<_> = self.voters().into_iter().map(Thing::Host).chain([Thing::Network]).collect();
        if !things.iter().all(|thing| self.book.is_free(thing, meanwhile)) {
            return None;
        }
        self.book_voters(std::iter::once((node.clone(), meanwhile)), self.majority_away_max)?;
        for thing in things {
            self.book.take(thing, meanwhile);
        }
        self.voters.retain(|voter| Node::Voter(*voter) != node);
        self.push(from, Fault::ReplaceVoter(node));
        Some("voter replaced")
    }

    /// Every connection of the edges goes at once.
    fn reconnect_storm(&mut self) -> Option<&'static str> {
        let from = self.sometime();
        let span = Span { from, to: from + RECONNECTING };
        if self.edges.is_empty() || !self.book.is_free(&Thing::Network, span) {
            return None;
        }
        self.book.take(Thing::Network, span);
        let edges = self.edges.clone();
        self.push(from, Fault::ReconnectStorm(edges));
        Some("reconnect storm")
    }
}
