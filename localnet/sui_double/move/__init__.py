"""An interpreter of compiled Move bytecode, as the Move compiler of Sui writes it (binary format 6 and 7).

It takes verified bytecode: it checks the types of every instruction's operands, and neither borrows nor abilities.
"""
