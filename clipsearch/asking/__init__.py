"""What people write to say which photos they mean: dates, places, filters, a question with both."""
