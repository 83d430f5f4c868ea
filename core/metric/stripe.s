// Empty: lets the package declare functions without a body, which stripe.go links to the runtime's.
