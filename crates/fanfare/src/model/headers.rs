/// HTTP headers as the history keeps them: `name: value`, a line each, names in lower case. Neither
/// names nor values of HTTP hold a line break. One block, because a delivery makes two of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(String);

impl Headers {
    /// Headers that were kept as text.
    pub fn from_text(text: String) -> Self {
        Headers(text)
    }

    /// The text to keep.
    pub fn as_text(&self) -> &str {
        &self.0
    }

    /// Adds one at the end.
    pub fn push(&mut self, name: &str, value: &str) {
        for part in [name, ": ", value, "\n"] {
            self.0.push_str(part);
        }
    }

    /// Every header, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.lines().filter_map(|line| line.split_once(": "))
    }

    /// The first one with this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(headers: I) -> Self {
        let mut text = Headers(String::with_capacity(512));
        for (name, value) in headers {
            text.push(name.as_ref(), value.as_ref());
        }
        text
    }
}
