/// Random programs on vectors of any element, bytes among them.
module harness::vectors;

use std::bcs;

/// Executes commands of two bytes each, an operation and an argument, on a vector and a spare element.
fun run<T: copy + drop>(mut values: vector<T>, mut spare: T, program: vector<u8>): vector<u8> {
    let mut log = vector[];
    let mut at = 0;
    while (at + 1 < program.length()) {
        let operation = program[at] % 9;
        let argument = program[at + 1] as u64;
        at = at + 2;
        if (operation == 0) values.push_back(spare)
        else if (operation == 1) spare = values.pop_back()
        else if (operation == 2) values.swap(argument % 8, argument / 8 % 8)
        else if (operation == 3) spare = values[argument % 8]
        else if (operation == 4) *(&mut values[argument % 8]) = spare
        else if (operation == 5) {
            let mut copied = values;
            copied.push_back(spare);
            log.append(bcs::to_bytes(&copied.length()));
            log.append(bcs::to_bytes(&(copied == values)));
        } else if (operation == 6) {
            let pair = vector[spare, values[argument % 8]];
            log.append(bcs::to_bytes(&pair));
            values.append(pair);
        } else if (operation == 7) values.reverse()
        else {
            let same = &values[argument % 8] == &spare;
            log.append(bcs::to_bytes(&same));
        }
    };
    log.append(bcs::to_bytes(&values));
    log.append(bcs::to_bytes(&spare));
    log
}

public fun run_u8(values: vector<u8>, spare: u8, program: vector<u8>): vector<u8> { run(values, spare, program) }

public fun run_u64(values: vector<u64>, spare: u64, program: vector<u8>): vector<u8> { run(values, spare, program) }

public fun run_bool(values: vector<bool>, spare: bool, program: vector<u8>): vector<u8> { run(values, spare, program) }

public fun run_address(values: vector<address>, spare: address, program: vector<u8>): vector<u8> {
    run(values, spare, program)
}

public fun run_bytes(values: vector<vector<u8>>, spare: vector<u8>, program: vector<u8>): vector<u8> {
    run(values, spare, program)
}

/// Packs literals, and borrows from vectors of vectors.
public fun nested(rows: vector<vector<u8>>, row: u64, place: u64, value: u8): vector<vector<u8>> {
    let mut changed = rows;
    let cell = &mut changed[row][place];
    *cell = value;
    changed.push_back(vector[value, value]);
    changed.push_back(b"literal");
    changed.push_back(rows[row]);
    changed
}
