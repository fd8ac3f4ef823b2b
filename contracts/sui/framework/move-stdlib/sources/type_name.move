module std::type_name;

public native fun original_id<T>(): address;
