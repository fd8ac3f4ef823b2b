#[defines_primitive(vector)]
module std::vector;

#[bytecode_instruction]
public native fun empty<Element>(): vector<Element>;
#[bytecode_instruction]
public native fun length<Element>(self: &vector<Element>): u64;
#[bytecode_instruction]
#[syntax(index)]
public native fun borrow<Element>(self: &vector<Element>, place: u64): &Element;
#[bytecode_instruction]
#[syntax(index)]
public native fun borrow_mut<Element>(self: &mut vector<Element>, place: u64): &mut Element;
#[bytecode_instruction]
public native fun push_back<Element>(self: &mut vector<Element>, element: Element);
#[bytecode_instruction]
public native fun pop_back<Element>(self: &mut vector<Element>): Element;
#[bytecode_instruction]
public native fun destroy_empty<Element>(self: vector<Element>);
#[bytecode_instruction]
public native fun swap<Element>(self: &mut vector<Element>, left: u64, right: u64);

public fun append<Element>(self: &mut vector<Element>, mut other: vector<Element>) {
    other.reverse();
    while (!other.is_empty()) self.push_back(other.pop_back());
    other.destroy_empty();
}

public fun is_empty<Element>(self: &vector<Element>): bool {
    self.length() == 0
}

public fun reverse<Element>(self: &mut vector<Element>) {
    let length = self.length();
    let mut place = 0;
    while (place < length / 2) {
        self.swap(place, length - 1 - place);
        place = place + 1;
    }
}

public fun remove<Element>(self: &mut vector<Element>, mut place: u64): Element {
    while (place + 1 < self.length()) {
        self.swap(place, place + 1);
        place = place + 1;
    };
    self.pop_back()
}
