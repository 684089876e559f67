"""What a request to the endpoint holds: instances, named columns, lines of text."""
