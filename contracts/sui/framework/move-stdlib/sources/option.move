module std::option;

public struct Option<Element> has copy, drop, store { vec: vector<Element> }

public fun none<Element>(): Option<Element> { Option { vec: vector[] } }
public fun some<Element>(element: Element): Option<Element> { Option { vec: vector[element] } }
public fun contains<Element>(self: &Option<Element>, element: &Element): bool { self.is_some() && self.borrow() == element }
public fun is_none<Element>(self: &Option<Element>): bool { self.vec.is_empty() }
public fun is_some<Element>(self: &Option<Element>): bool { !self.is_none() }
public fun borrow<Element>(self: &Option<Element>): &Element { &self.vec[0] }
public fun extract<Element>(self: &mut Option<Element>): Element { self.vec.pop_back() }
