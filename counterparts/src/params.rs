//! A request's parameters in Stripe's form encoding, with nesting by brackets.

/// In the order received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// The name of any remaining parameter.
    pub(crate) fn first(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| root(name))
    }

    /// The values of a list: of `name[]`, `name[0]` and so on.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        let of_list = |given: &str| given != name && root(given) == name;
        self.0.iter().filter(|(given, _)| of_list(given)).map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.retain(|(given, _)| given != name);
        self.0.push((name.to_owned(), value.into()));
    }

    /// Removes and returns a parameter, with everything nested in it.
    pub(crate) fn take(&mut self, name: &str) -> Vec<(String, String)> {
        let (taken, kept) =
            std::mem::take(&mut self.0).into_iter().partition(|(given, _)| root(given) == name);
        self.0 = kept;
        taken
    }

    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(&self.0).finish()
    }

    /// A form that does not depend on the parameters' order.
    pub(crate) fn canonical(&self) -> String {
        let mut sorted = self.clone();
        sorted.0.sort();
        sorted.encoded()
    }
}

fn root(name: &str) -> &str {
    name.split_once('[').map_or(name, |(root, _)| root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_taken_out_with_what_is_nested_in_it() {
        let mut params = Params::parse(b"amount=5&shipping[name]=Ada&shipping[address][city]=Bath");
        assert_eq!(params.take("shipping").len(), 2);
        assert_eq!(params.encoded(), "amount=5");
    }

    #[test]
    fn the_order_of_parameters_makes_no_difference_and_their_values_do() {
        let canonical = |text: &str| Params::parse(text.as_bytes()).canonical();
        assert_eq!(canonical("a=1&b=2"), canonical("b=2&a=1"));
        assert_ne!(canonical("a=1&b=2"), canonical("a=2&b=1"));
    }

    #[test]
    fn a_list_is_read_in_each_of_its_forms() {
        for text in ["expand[]=a&expand[]=b", "expand[0]=a&expand[1]=b"] {
            assert_eq!(Params::parse(text.as_bytes()).list("expand"), ["a", "b"]);
        }
    }
}
