module std::option;

public struct Option<Element> has copy, drop, store { vec: vector<Element> }

public fun none<Element>(): Option<Element> { abort }
public fun some<Element>(element: Element): Option<Element> { abort }
public fun contains<Element>(self: &Option<Element>, element: &Element): bool { abort }
public fun is_none<Element>(self: &Option<Element>): bool { abort }
