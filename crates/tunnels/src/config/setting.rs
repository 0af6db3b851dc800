//! What a row of the table says, and the guess at the row that was meant.

use super::Role;
use super::table::TABLE;

/// One row.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Dotted name.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The default as the manual says it; a value, or words where `by_role` or code decides.
    pub default: &'static str,
    /// The defaults of client and server where they differ.
    pub by_role: Option<(&'static str, &'static str)>,
    /// Which programs use it.
    pub roles: Roles,
    /// A flag of the seed, which both programs take.
    pub seed: bool,
    /// Never printed.
    pub secret: bool,
    /// SIGHUP brings a new value into effect.
    pub reloadable: bool,
    /// One sentence.
    pub help: &'static str,
    /// One value that works (for a list: one item).
    pub example: &'static str,
}

impl Setting {
    /// The row of that name.
    pub fn find(name: &str) -> Option<&'static Setting> {
        TABLE.iter().find(|setting| setting.name == name)
    }

    /// Its environment variable, `TUNNELS_REMUX_REUSE_MAX_SEC`.
    pub fn variable(&self) -> String {
        format!("TUNNELS_{}", self.name.replace('.', "_").to_uppercase())
    }

    /// Whether this program uses it.
    pub fn used_by(&self, role: Role) -> bool {
        match role {
            Role::Client => self.roles.client,
            Role::Server => self.roles.server,
        }
    }

    /// Whether this program may be given it: what it uses, and all flags of the seed, which had one set for both ends.
    pub fn taken_by(&self, role: Role) -> bool {
        self.seed || self.used_by(role)
    }

    /// The default as text, if it is a value and not words.
    pub fn default_value(&self, role: Role) -> Option<&'static str> {
        match (self.by_role, role) {
            (Some((client, _)), Role::Client) => Some(client),
            (Some((_, server)), Role::Server) => Some(server),
            (None, _) if self.default.contains(' ') => None,
            (None, _) => Some(self.default),
        }
    }

    /// Several values: a list in YAML, commas or repetition in flags.
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }

    pub(super) const fn example(mut self, example: &'static str) -> Self {
        self.example = example;
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    pub(super) const fn reloadable(mut self) -> Self {
        self.reloadable = true;
        self
    }

    pub(super) const fn by_role(mut self, client: &'static str, server: &'static str) -> Self {
        self.by_role = Some((client, server));
        self
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path; relative ones start at the configuration file, or at the working directory in flags and environment.
    File,
    /// Several texts.
    List(&'static str),
    /// `true` or `false`.
    Switch,
    /// Free text, called so in the manual.
    Text(&'static str),
    /// A whole number.
    Whole {
        /// Of what.
        unit: Unit,
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
    },
}

impl Kind {
    /// What stands for the value in usage lines and in the manual.
    pub fn placeholder(self) -> String {
        match self {
            Kind::Choice(words) => words.join("|"),
            Kind::File => "FILE".to_owned(),
            Kind::List(item) => format!("{item},…"),
            Kind::Switch => "true|false".to_owned(),
            Kind::Text(what) => what.to_owned(),
            Kind::Whole { unit, .. } => unit.name().to_uppercase(),
        }
    }
}

/// What a whole number counts; the setting's name ends with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// `.bytes`
    Bytes,
    /// `.cnt`
    Count,
    /// `.msec`
    Milliseconds,
    /// `.percent`
    Percent,
    /// `.sec`
    Seconds,
}

impl Unit {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Count => "number",
            Unit::Milliseconds => "milliseconds",
            Unit::Percent => "percent",
            Unit::Seconds => "seconds",
        }
    }

    /// What stands behind "a whole number".
    pub(super) fn of(self) -> String {
        if self == Unit::Count { String::new() } else { format!(" of {}", self.name()) }
    }

    /// How a name with this unit ends.
    pub fn suffix(self) -> &'static str {
        match self {
            Unit::Bytes => ".bytes",
            Unit::Count => ".cnt",
            Unit::Milliseconds => ".msec",
            Unit::Percent => ".percent",
            Unit::Seconds => ".sec",
        }
    }
}

/// Which programs use a setting.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Roles {
    /// tunnels-client
    pub client: bool,
    /// tunnels-server
    pub server: bool,
}

/// The name that was meant, if one is near enough to be worth a guess.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > 64 {
        return None;
    }
    let (distance, closest) = known.into_iter().map(|known| (distance(name, known), known)).min()?;
    // What they have in common up to a dot is no sign of likeness.
    let common = name.bytes().zip(closest.bytes()).take_while(|(a, b)| a == b).count();
    let group = closest.get(..common).and_then(|same| same.rfind('.')).map_or(0, |dot| dot + 1);
    (distance <= (name.len().saturating_sub(group) / 3).clamp(1, 5)).then_some(closest)
}

/// Levenshtein's, on bytes; a swap of neighbours counts one.
fn distance(one: &str, two: &str) -> usize {
    let (one, two) = (one.as_bytes(), two.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in two.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == two[j - 1] && one[i - 1] == *b {
                best = best.min(before_last[j - 1] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[two.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_guessed_and_far_ones_not() {
        let names = || TABLE.iter().map(|setting| setting.name);
        assert_eq!(nearest("server.adr", names()), Some("server.addr"));
        assert_eq!(nearest("remux.reuse.sec.max", names()), None);
        assert_eq!(nearest("tls.sevrer.key", names()), Some("tls.server.key"));
        assert_eq!(nearest("zzzz", names()), None);
        assert_eq!(nearest(&"x".repeat(1 << 20), names()), None);
    }
}
